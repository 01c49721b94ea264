# Runs a server that must not outlive its owner, not even when the owner is killed with SIGKILL.
#
#   sh guard.sh COMMAND [ARGUMENT...]
#   stdin  held open by the owner; its end ends the server: TERM, and KILL ten seconds later
#   fd 3   gets one line, the server's process id
#   exit   the server's own code
#
# The owner starts this as leader of a process group of its own, so a Ctrl-C in the terminal reaches the owner only.

exec 4<&0
"$@" </dev/null 3>&- 4<&- &
server=$!
echo "$server" >&3
exec 3>&-

# A stopped process keeps TERM pending until it is continued.
end() { kill -TERM "$server" && kill -CONT "$server"; }
trap end TERM INT HUP

{ cat; end; sleep 10; kill -KILL "$server"; } <&4 >/dev/null 2>&1 &
exec 4<&-

# A trapped signal interrupts wait, so ask again until the server is gone.
while kill -0 "$server" 2>/dev/null; do
  wait "$server"
  code=$?
done

trap '' TERM
kill -TERM 0 # the watcher above and its cat
exit "$code"
