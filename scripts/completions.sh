# Lists the hosts that the last runs wrote SSH settings for: those of the topology that the words of a command line mean,
# by the rules of the command (docs/commands.md); all where they name none. `make completions` puts it into the scripts.
# No apostrophe in it: within quotes fish takes a backslash before one for its own.
clone="@CLONE@"
topology=${NETORDER_TOPOLOGY:-}
files=
[ -n "$topology" ] || [ ! -f topologies/calculator.yml ] || topology=topologies/calculator.yml
while [ $# -gt 0 ]; do
  word=$1
  shift
  case $word in
    --) break ;;
    -t | --topology) topology=${1:-} ;;
    --files) files=${1:-} ;;
    --topology=* | *.yml | *.yaml) topology=${word#--topology=} ;;
    --files=*) files=${word#--files=} ;;
  esac
done
case $topology in "~/"*) topology=$HOME/${topology#??} ;; esac
case $files in "~/"*) files=$HOME/${files#??} ;; esac
if [ -z "$files" ]; then
  files=.netorder
  for part in ansible.cfg site.yml playbooks inventory/10-plan.yml; do
    [ -e "$part" ] || [ ! -d "$clone" ] || files=$clone/.netorder
  done
fi
name=$(sed -n "s/^topology:[^A-Za-z0-9_.-]*\([A-Za-z0-9_.-]*\).*/\1/p" "${topology:-/dev/null}" 2>/dev/null | head -n 1)
cat "$files"/*/${name:-*}/ssh_config 2>/dev/null | sed -n "s/^Host \([^ *]*\).*/\1/p" | sort -u
