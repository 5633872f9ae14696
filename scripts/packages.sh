# Sourced by the scripts beside it, with bash.

# install_missing [PACKAGE...]: installs these Debian packages and, of `package_of` (command to package), those whose
# command is missing, as root or through sudo.
install_missing() {
    local missing=() command as_root
    as_root=$(dirname "${BASH_SOURCE[0]}")/as-root
    for command in "${!package_of[@]}"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || missing+=("${package_of[$command]}")
    done
    missing+=("$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    echo "installing: ${missing[*]}"
    # one command: without sudo it is what root is asked to run
    DEBIAN_FRONTEND=noninteractive "$as_root" sh -c \
        'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null' sh "${missing[@]}"
}
