#!/bin/sh
# Tests and measures Heddle on a Linux x86-64 machine with an NVIDIA GPU and nothing else: no Node, no network, no compiler.
# `npm run gpu:bundle` lays this file beside node.xz, project.tar.xz and identity. What it takes: sh run.sh --help
set -eu

here=$(cd "$(dirname "$0")" && pwd)
log() { printf 'gpu-bundle: %s\n' "$*" >&2; }
fail() { log "$*"; exit 2; }

case " $* " in
*" --help "* | *" -h "*) help=yes ;;
*) help=no ;;
esac
if [ $help = yes ]; then
  cat <<'HELP'
sh run.sh [options]

  --only STAGE[,STAGE]  doctor, conformance, parity, determinism, resume, sanitizer, curves, attention, benchmark;
                        default all, in this order
  --seconds N           time for everything after unpacking; default 540, so that a call fits into ten minutes
  --out FOLDER          for report.json and log.txt; default $OUT, else ./gpu-report. Stages that an earlier call left in a
                        report.json there are kept: several calls with --only make one report
  --device DEVICE       cuda (default), cuda:N or cpu
  --cases A,B           of the benchmark: tiny, characters-16k, characters-4k, gpt2-124m; default all (on the CPU: tiny)
  --peers on|off        PyTorch beside attention and benchmark, where python3 has it; default on
  --quick               few samples and small models, under a minute on the CPU: shows that the bundle works, measures nothing
  --unpack FOLDER       where the bundle is unpacked, once; default a folder under ${TMPDIR:-/tmp}; takes some 200 MB
  --help                this text

Environment: HEDDLE_CUBLAS names a libcublasLt.so (else looked for in Python's nvidia/*/lib), HEDDLE_PYTHON a Python with
PyTorch (else python3), HEDDLE_ADDON another addon. Ends with 0 where every stage that ran passed, with 1 where one did
not, and with 2 for wrong options or a machine that the bundle cannot run on.
HELP
  exit 0
fi

# Only --unpack concerns this file; everything else is for Node.
folder=
count=$#
while [ "$count" -gt 0 ]; do
  argument=$1
  shift
  count=$((count - 1))
  case $argument in
  --unpack)
    [ "$count" -gt 0 ] || fail 'expected a folder after --unpack'
    folder=$1
    shift
    count=$((count - 1))
    ;;
  --unpack=*) folder=${argument#--unpack=} ;;
  *) set -- "$@" "$argument" ;;
  esac
done

[ "$(uname -s)-$(uname -m)" = "$(cat "$here/platform")" ] ||
  fail "expected $(cat "$here/platform"), but this is $(uname -s)-$(uname -m); build the bundle on a machine of its kind"
for file in node.xz project.tar.xz identity; do
  [ -f "$here/$file" ] || fail "expected $file beside run.sh, but it is not there; copy the whole folder"
done
python=${HEDDLE_PYTHON:-python3}

# Decompresses standard input by xz, or where that is missing by Python.
decompress() {
  if command -v xz >/dev/null 2>&1; then
    xz -dc
  elif command -v "$python" >/dev/null 2>&1; then
    "$python" -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.stdin.buffer), sys.stdout.buffer)'
  else
    fail 'expected xz or python3 to decompress with, but neither is there; install xz-utils'
  fi
}

# ---- unpack, once for each bundle and user

identity=$(cat "$here/identity")
: "${folder:=${TMPDIR:-/tmp}/heddle-gpu-$(id -u)-$identity}"
if [ "$(cat "$folder/identity" 2>/dev/null || true)" = "$identity" ]; then
  log "already unpacked in $folder"
else
  command -v tar >/dev/null 2>&1 || fail 'expected tar, but it is not there; install it'
  [ ! -e "$folder" ] || fail "expected an unpacked bundle or nothing in $folder, but something else is there; remove it or use --unpack"
  # Beside its place and then renamed: a call that was cut short leaves nothing that the next one takes for whole.
  part=$folder.part-$$
  trap 'rm -rf "$part"' EXIT
  trap 'exit 1' INT TERM
  mkdir -p "$(dirname "$folder")"
  mkdir -m 700 "$part"
  decompress <"$here/project.tar.xz" | tar -xf - -C "$part"
  decompress <"$here/node.xz" >"$part/node"
  chmod 755 "$part/node"
  "$part/node" --version >/dev/null || fail "Node does not run here; it needs glibc 2.28 and libstdc++ or newer"
  printf '%s\n' "$identity" >"$part/identity"
  mv -T "$part" "$folder"
  trap - EXIT INT TERM
  log "unpacked into $folder"
fi

# ---- cuBLAS may lie in a Python environment only, where no loader looks

if [ -z "${HEDDLE_CUBLAS:-}" ] && command -v "$python" >/dev/null 2>&1; then
  found=$("$python" - 2>/dev/null <<'PYTHON' || true
import glob, os, site, sys, sysconfig
try:
    import nvidia
    folders = list(nvidia.__path__)
except ImportError:
    folders = []
sites = sys.path + [sysconfig.get_path('platlib'), site.getusersitepackages()]
folders += [os.path.join(path, 'nvidia') for path in sites if path]
for folder in folders:
    files = glob.glob(os.path.join(glob.escape(folder), '*', 'lib', 'libcublasLt.so.*'))
    if files:
        # The newest by number: .13 before .12.
        print(max(files, key=lambda file: [int(part) for part in file.rpartition('.so.')[2].split('.') if part.isdigit()]))
        break
PYTHON
)
  if [ -n "$found" ]; then
    HEDDLE_CUBLAS=$found
    export HEDDLE_CUBLAS
  fi
fi
log "HEDDLE_CUBLAS: ${HEDDLE_CUBLAS:-not set, and none in a Python environment}"

# Later options win, so that a caller's --out does; a relative one counts from where the call was made.
base=$(pwd)
cd "$folder"
exec "$folder/node" dist-test/bench/gpu/main.js --base "$base" --out "${OUT:-gpu-report}" "$@"
