#!/usr/bin/env bash
# The arrow checker sees each kind of wrong include and a file that a layer's folder doesn't know.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
out=build/arrows
rm -rf $out; mkdir -p $out

fresh() {  # a small tree that keeps the rules; not a git checkout of its own, so every file counts
  rm -rf $out/tree; mkdir -p $out/tree/{abi,kernels/common,kernels/cpu,plugin,manifest,layers/one,layers/two,cli}
  cp kernels/archs.mk $out/tree/kernels/
  cp abi/lamina_abi.h $out/tree/abi/
  echo '#pragma once' | tee $out/tree/{kernels/common/a.h,kernels/cpu/b.h,plugin/c.h,manifest/d.h,layers/one/e.h,layers/two/f.h} >/dev/null
  echo '#include "plugin/c.h"' >$out/tree/layers/one/layer.cpp
  printf '#include "kernels/cpu/b.h"\n#include "e.h"\n' >$out/tree/layers/one/cpu_avx2.cpp
  echo '#include "kernels/common/a.h"' >$out/tree/kernels/cpu/x.cpp
  touch $out/tree/layers/{one,two}/contract.json
  git -C $out/tree init -q
}
sees() {  # sees WORDS FILE LINE: adding LINE to FILE is refused with WORDS
  fresh
  mkdir -p "$(dirname "$out/tree/$2")"
  echo "$3" >>"$out/tree/$2"
  if "$root/.ci/check-arrows" $out/tree >$out/log; then echo "'$3' in $2 goes unseen"; exit 1; fi
  grep -q "$1" $out/log || { echo "'$3' in $2: expected '$1', got:"; cat $out/log; exit 1; }
}
fresh
"$root/.ci/check-arrows" $out/tree >$out/log || { echo "a tree that keeps the rules is refused:"; cat $out/log; exit 1; }
sees "'kernels/cpu' may not see 'abi'"         kernels/cpu/x.cpp        '#include "abi/lamina_abi.h"'
sees "'kernels/common' may not see"            kernels/common/a.h       '  #  include "kernels/cpu/b.h"'
sees "'layers/one' may not see 'layers/two'"   layers/one/layer.cpp     '#include "layers/two/f.h"'
sees "'layers/one' may not see 'layers/two'"   layers/one/cpu_avx2.cpp  '#include "../two/f.h"'
sees "'layers/one' may not see 'manifest'"     layers/one/layer.cpp     '#include "manifest/d.h"'
sees "only layer.cpp sees the ABI"             layers/one/cpu_avx2.cpp  '#include "plugin/c.h"'
sees "'cli' may not see 'layers/one'"          cli/run.cpp              '#include "layers/one/e.h"'
sees "may not see 'layers/one'"          manifest/tests/t.cpp     '#include "layers/one/e.h"'
sees "'plugin' may not see 'kernels/cpu'"      plugin/c.h               '#include "kernels/cpu/b.h"'
sees "the ABI includes C headers alone"        abi/lamina_abi.h         '#include <string>'
sees "neither a name that a layer's folder"    layers/one/cpu_neon.cpp  'int x;'
sees "neither a name that a layer's folder"    layers/one/utils.cpp     'int x;'
sees "no arrow is known for folder"            somewhere/x.cpp          'int x;'
sees "names the layer one"                     kernels/cpu/x.cpp        'int one;'
echo "the checker sees all 14"
