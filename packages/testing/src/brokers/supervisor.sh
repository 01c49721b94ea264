# Supervisor: runs a server, and ends it when its owner ends, even if the owner is killed with
# SIGKILL.
#
#   sh supervisor.sh COMMAND [ARGUMENT...]
#   stdin  kept open by the owner; when it ends, the server gets TERM, and KILL ten seconds later
#   fd 3   gets one line, the server's process id
#   exit   the exit code of the server
#
# The owner starts this script as the leader of a new process group. So Ctrl-C in the terminal
# reaches only the owner.

exec 4<&0
"$@" </dev/null 3>&- 4<&- &
server=$!
echo "$server" >&3
exec 3>&-

# A stopped process keeps TERM pending until it is continued.
end() { kill -TERM "$server" && kill -CONT "$server"; }

{ cat; end; sleep 10; kill -KILL "$server"; } <&4 >/dev/null 2>&1 &
exec 4<&-
# Set the trap after the start of the watcher. A new process has its parent's traps for a moment, so
# the watcher could survive the TERM at the end of this script.
trap end TERM INT HUP

# A trapped signal interrupts `wait`, so wait again until the server has ended. Wait at least once,
# to get the exit code of a server that has ended already.
while :; do
  wait "$server"
  code=$?
  kill -0 "$server" 2>/dev/null || break
done

trap '' TERM
kill -TERM 0 # the watcher above and its cat
exit "$code"
