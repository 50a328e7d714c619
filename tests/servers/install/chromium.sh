# A browser, in which the pages of diagrams/ are opened; and a font, without which every picture is of empty boxes.
debian chromium fonts-dejavu-core
