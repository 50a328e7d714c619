#!/bin/sh
# runc, for a machine without CAP_SYS_RESOURCE: there a negative oom_score_adj, which the kubelet sets on every pause
# container, ends "runc create" with "can't get final child's PID from pipe: EOF".
previous=
for argument in "$@"; do
  [ "$previous" = --bundle ] && bundle=$argument
  previous=$argument
done
if [ -n "$bundle" ] && [ -f "$bundle/config.json" ]; then
  sed -i -e 's/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/' -e 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g' \
    "$bundle/config.json"
fi
exec "${RUNC:-/usr/sbin/runc}" "$@"
