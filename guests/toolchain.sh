#!/bin/sh
# Builds guests for wasm32-unknown-unknown and leaves them at target/guests/core/<package>.wasm (core modules, not yet components).
#
#   guests/toolchain.sh PACKAGE...
#
# It takes the first way that works here:
#   1. the active Rust toolchain, if it has the target;
#   2. the same after `rustup target add`, which is given 10 seconds;
#   3. Debian's rustc, building std from its sources; as root it installs the packages that are missing, otherwise they have to be there.
# The two compilers have target directories of their own: their output must not mix.
set -eu

target=wasm32-unknown-unknown
packages='rustc-web cargo-web rust-web-src rust-web-llvm lld-22'
root=$(cd "$(dirname "$0")/.." && pwd)
out=${CARGO_TARGET_DIR:-$root/target}/guests

say() { echo "guests: $*"; }

# The active toolchain has std for the target.
has_target() {
    libs=$(rustc --print target-libdir --target "$target" 2>/dev/null) && ls "$libs"/libstd-*.rlib >/dev/null 2>&1
}

add_target() {
    command -v rustup >/dev/null || return 1
    say "the active toolchain does not have $target: rustup target add $target"
    timeout 10 rustup target add "$target" && has_target
}

# Debian's compiler, the sources of its std and a linker for Wasm.
has_debian() {
    [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] || return 1
    [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std" ] || return 1
    for linker in rust-lld wasm-ld-22 wasm-ld lld-22; do
        [ -x "/usr/bin/$linker" ] && debian_linker=/usr/bin/$linker && return 0
    done
    return 1
}

add_debian() {
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 1
    say "no toolchain with $target; installing Debian's: apt-get install $packages"
    # shellcheck disable=SC2086 # a list
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages && has_debian
}

build() {
    # shellcheck disable=SC2086 # a list
    "$@" build --locked --profile guest --target "$target" $selected
}

with_active() {
    say "building with $(rustc --version)"
    built=$out/active
    (cd "$root" && CARGO_TARGET_DIR=$built build cargo)
}

with_debian() {
    say "building with Debian's $(/usr/bin/rustc --version), std included, linker $debian_linker"
    built=$out/debian
    (
        cd "$root"
        export PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$built"
        export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$debian_linker" CARGO_UNSTABLE_BUILD_STD=std,panic_abort
        build /usr/bin/cargo
    )
}

[ $# -gt 0 ] || { echo "usage: $0 PACKAGE..." >&2; exit 2; }
selected=
for package; do selected="$selected -p $package"; done

if has_target || add_target; then
    with_active
elif has_debian || add_debian; then
    with_debian
else
    cat >&2 <<HELP
guests: cannot build for $target here. Either of these helps:
    rustup target add $target
    apt-get install $packages
HELP
    exit 1
fi

mkdir -p "$out/core"
for package; do
    file=$(echo "$package" | tr - _).wasm
    cp "$built/$target/guest/$file" "$out/core/$package.wasm"
    say "$out/core/$package.wasm: $(wc -c <"$out/core/$package.wasm") bytes"
done
