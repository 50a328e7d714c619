"use strict";
(() => {
  const one = (selector) => document.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const steps = all("#steps > li");
  if (!steps.length) return;

  // What changes: the diagram's groups, the bars of the phases, the rows of the items.
  const moves = steps.map((step, at) => [at, step.dataset.state, step.dataset.edge]).filter((move) => move[1] || move[2]);
  const groups = all("figure g[id]").filter((group) => /-(state|edge)-/.test(group.id));
  const tracks = all("#tracks > [data-step]");
  const cursors = all(".cursor");
  const rows = all("#items li").sort((a, b) => a.dataset.step - b.dataset.step);
  const stops = {
    all: steps.map((_, at) => at),
    moves: moves.map(([at]) => at),
    trouble: steps.flatMap((step, at) => (step.matches(".attempt, .failure, .bad") ? [at] : [])),
  };

  const [back, play, forth] = all(".player button");
  const slider = one(".player input[type=range]");
  slider.max = steps.length - 1;
  const [count, mark, said] = all(".player output > span");
  const total = Number(one("main").dataset.seconds) || 1;
  const log = one("#steps");
  let now = steps.length - 1;
  let shownRows = rows.length;
  let playing = 0;

  const way = () => stops[one(".player :checked").value];

  const show = (at) => {
    steps[now].classList.remove("current");
    now = Math.max(0, Math.min(steps.length - 1, at));
    const step = steps[now];
    step.classList.add("current");
    const met = new Set();
    let here = "";
    for (const [when, state, edge] of moves) {
      if (when > now) break;
      if (edge) met.add(edge);
      if (state) met.add((here = state));
      else here = "";
      if (edge && edge.endsWith("-verdict")) met.add(edge.replace(/-edge-.*/, "-state-verdict"));
    }
    for (const group of groups) {
      const reached = met.has(group.id);
      if (group.id.includes("-edge-")) group.classList.toggle("off", !reached);
      else {
        group.classList.toggle("away", !reached);
        group.classList.toggle("now", group.id === here && now < steps.length - 1);
      }
    }
    const seconds = Number(step.dataset.at);
    for (const cursor of cursors) {
      cursor.setAttribute("visibility", now < steps.length - 1 ? "visible" : "hidden");
      for (const end of ["x1", "x2"]) cursor.setAttribute(end, (100 * seconds) / total + "%");
    }
    for (const track of tracks) track.classList.toggle("future", Number(track.dataset.step) > now);
    // Only the rows between the old place and the new one: there may be thousands.
    while (shownRows < rows.length && rows[shownRows].dataset.step <= now) rows[shownRows++].classList.remove("future");
    while (shownRows > 0 && rows[shownRows - 1].dataset.step > now) rows[--shownRows].classList.add("future");
    slider.value = now;
    slider.setAttribute("aria-valuetext", step.textContent);
    count.textContent = `${step.querySelector("time").textContent} · ${now + 1} of ${steps.length}`;
    mark.textContent = step.children[1].textContent;
    mark.className = step.children[1].className;
    said.textContent = [...step.children[2].childNodes].map((node) => node.textContent.trim()).join(" — ");
    said.title = said.textContent;
    const list = way();
    back.disabled = !(list[0] < now);
    forth.disabled = !(list[list.length - 1] > now);
    if (one("details").open) log.scrollTop = step.offsetTop - log.clientHeight / 2;
  };

  const next = () => way().find((at) => at > now);
  const previous = () => way().findLast((at) => at < now);
  const go = (at) => at !== undefined && show(at);
  const halt = () => {
    clearInterval(playing);
    playing = 0;
    play.textContent = "▶";
    play.setAttribute("aria-label", "play");
  };
  const start = () => {
    if (next() === undefined) show(way()[0] ?? 0);
    play.textContent = "⏸";
    play.setAttribute("aria-label", "pause");
    playing = setInterval(() => (next() === undefined ? halt() : show(next())), 700);
  };

  back.onclick = () => (halt(), go(previous()));
  forth.onclick = () => (halt(), go(next()));
  play.onclick = () => (playing ? halt() : start());
  slider.oninput = () => (halt(), show(Number(slider.value)));
  one(".player fieldset").onchange = () => show(now);
  log.onclick = (event) => {
    const step = event.target.closest("li");
    if (step) (halt(), show(steps.indexOf(step)));
  };
  document.onkeydown = (event) => {
    if (event.target.matches("input") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") back.onclick();
    if (event.key === "ArrowRight") forth.onclick();
  };
  const find = one(".find");
  if (find) {
    const [words, bad] = all("input", find);
    const names = rows.map((row) => all(".name, .note", row).map((one) => one.textContent).join(" ").toLowerCase());
    find.oninput = () => {
      const wanted = words.value.toLowerCase();
      rows.forEach((row, at) => {
        row.hidden = (bad.checked && row.classList.contains("fine")) || !names[at].includes(wanted);
      });
      for (const list of all("#items ul")) list.parentElement.hidden = !list.querySelector("li:not([hidden])");
    };
    find.hidden = false;
  }
  all(".player input[type=radio]").forEach((radio) => (radio.disabled = !stops[radio.value].length));
  one(".player").hidden = false;
  show(now);
})();
