#!/bin/sh
# Builds the fuzz targets with coverage and runs each of them.
#
#   tests/fuzz/run.sh SECONDS [TARGET...]
#
# What a target learned is kept in target/fuzz/corpus/TARGET and used by the next run; a finding is left in target/fuzz/findings.
set -eu
seconds=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
out=$here/../../target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
coverage='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing'

# A target triple keeps the flags from build scripts.
(cd "$here" && RUSTFLAGS="$coverage" cargo build --release --locked --target "$host" --target-dir "$out")

targets=${*:-$(sed -n '/^\[\[bin\]\]/{n;s/name = "\(.*\)"/\1/p}' "$here/Cargo.toml")}
for target in $targets; do
    mkdir -p "$out/corpus/$target" "$out/findings"
    echo "fuzzing $target for $seconds s"
    "$out/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 -len_control=20 \
        -print_final_stats=1 -verbosity=0 -dict="$here/dictionary.txt" -artifact_prefix="$out/findings/$target-" \
        "$out/corpus/$target" $([ -d "$here/seeds/$target" ] && echo "$here/seeds/$target") || {
        echo "a finding of $target is in $out/findings" >&2
        exit 1
    }
done
