#!/usr/bin/env bash
# Mistakes of the kind that hang a GPU, or spoil its results now and then, are put into copies of the contraction's source one by one; conform over
# the emulator must find each, in the words given.  The copy without a mistake must pass.
set -euo pipefail
cd "$(dirname "$0")/../../.."
layer=triangle_multiplication
plugin=$(ls build/plugins/$layer-*-cuda_sm90a.so)
folder=$(mktemp -d build/cuda_emulator/faults.XXXXXX)
trap 'rm -rf "$folder"' EXIT
read -ra flags <build/cuda_emulator/kernel_flags
mkdir -p "$folder/kernels"
cp build/cuda_emulator/libcuda.so.1 "$folder/"
# Three kernels as they are, and the four of the contraction that the two problems below take.
cat >"$folder/kernels.cu" <<'END'
#include "cuda_pack.cuh"
#include "sm90a_back.cuh"
#include "sm90a_contract.cuh"
#include "sm90a_front.cuh"
namespace lamina::triangle_multiplication {
#define KERNEL(name, Job, call) extern "C" __global__ void name(const Job job) { call(job); }
KERNEL(pack_bfloat16, PackJob, pack<bfloat16>)
KERNEL(hopper_front_128, hopper::FrontJob, (hopper::front<128, 128, bfloat16>))
KERNEL(hopper_back_128, hopper::BackJob, (hopper::back<128, 128, false, bfloat16>))
KERNEL(hopper_contract_square, hopper::ContractJob, (hopper::contract<bfloat16, 128, cuda::Lines::along_k, 1>))
KERNEL(hopper_contract_square_incoming, hopper::ContractJob, (hopper::contract<bfloat16, 128, cuda::Lines::along_rows, 1>))
KERNEL(hopper_contract_paired, hopper::ContractJob, (hopper::contract<bfloat16, 256, cuda::Lines::along_k, 2>))
KERNEL(hopper_contract_paired_incoming, hopper::ContractJob, (hopper::contract<bfloat16, 256, cuda::Lines::along_rows, 2>))
}
END
cat >"$folder/cases.json" <<'END'
{"schema": "lamina/cases/1", "layer": "triangle_multiplication", "dims": {"G": {"output_gate": {"after_projection": "C", "before_projection": "H"}}},
 "data": {"pair": {"kind": "normal"}, "*_mask": {"kind": "mask", "keep": 0.8}, "norm_*_weight": {"kind": "normal", "mean": 1, "deviation": 0.25},
          "*_weight": {"kind": "normal", "fan_in": "C"}, "*_bias": {"kind": "normal", "deviation": 0.5}},
 "defaults": {"op": "forward", "dims": {"B": 1, "N": 36, "C": 128, "H": 128}, "attributes": {"direction": "outgoing", "operands": "ab", "output_gate": "after_projection"},
              "given": ["norm_in_*", "pair_mask"], "dtype": "bfloat16", "packed": true, "seed": 1},
 "cases": [{"why": "square", "dims": {"B": 2, "N": 72}, "attributes": {"direction": {"sweep": ["outgoing", "incoming"]}}},
           {"why": "paired", "dims": {"N": 132}, "attributes": {"direction": "incoming"}, "seed": 2}]}
END
compile() {  # compiles what lies in $folder/source
  g++ -I"$folder/source" -Ibuild/gen/$layer "${flags[@]}" -c -o "$folder/kernels.o" -x c++ "$folder/source/kernels.cu"
  conformance/cuda_emulator/device/dynamic_memory.sh "$folder/kernels.o" >"$folder/shared.s"
  g++ -shared -Wl,-z,defs -o "$folder/kernels/$layer-cuda_sm90a.so" "$folder/kernels.o" "$folder/shared.s" "$folder/libcuda.so.1"
}
conform() {  # conform CASE
  LD_LIBRARY_PATH=$folder LAMINA_FAKE_CUDA='processors=8' LAMINA_CUDA_EMULATOR="$chance" LAMINA_BARE_MEMORY=1 timeout 100 \
    build/bin/lamina conform "$plugin" --cases "$folder/cases.json" --device cuda:0 --filter "case $1" >"$folder/log" 2>&1
}
restore() { rm -rf "$folder/source" && mkdir "$folder/source" && cp layers/$layer/*.cuh layers/$layer/*.h "$folder/kernels.cu" "$folder/source/"; }

restore
compile
for chance in 'seed=1 products=early' 'seed=2 products=late' 'seed=3'; do
  conform square && conform paired || { echo "the kernels as they are fail:"; cat "$folder/log"; exit 1; }
done

bad=0 count=0
finds() {  # finds NAME CASE WORDS FROM TO [CHANCE]: the text FROM of the contraction becomes TO
  local code=0 chance=${6:-seed=3}
  restore
  FROM=$4 TO=$5 perl -0pi -e 's/\Q$ENV{FROM}\E/$ENV{TO}/g' "$folder/source/sm90a_contract.cuh"
  ! cmp -s "$folder/source/sm90a_contract.cuh" layers/$layer/sm90a_contract.cuh || { echo "$1: the contraction has no '$4'"; exit 1; }
  compile
  conform "$2" || code=$?
  count=$((count + 1))
  if [ $code = 14 ] && grep -qE "$3" "$folder/log"; then echo "$1: found: $(grep -E "$3" "$folder/log" | head -1 | cut -c1-150)"; return; fi
  echo "$1: NOT found (exit code $code):"; tail -n 8 "$folder/log"; bad=1
}
finds too_few_bytes       square 'deadlock|more bytes'  'full.expect((rows + columns) * 64 * 2)' 'full.expect((rows + columns) * 64 * 2 - 128)'
finds too_many_bytes      square 'deadlock'             'full.expect((rows + columns) * 64 * 2)' 'full.expect((rows + columns) * 64 * 2 + 128)'
finds no_wait_for_load    square '^fail '               'shared.full[stage].wait(parity);' ''
finds one_arrival_too_few square 'deadlock'             'barrier.init(groups * together)' 'barrier.init(groups * together + 1)'
finds one_arrival_more    square 'more arrivals|^fail ' 'barrier.init(groups * together)' 'barrier.init(groups * together - 1)' 'seed=3 products=late'
finds early_release       square '^fail '               'cuda::wait_products<1>();' '' 'seed=3 products=late'
finds sums_read_early     square '^fail '               'cuda::wait_products<0>();' '' 'seed=3 products=late'
finds wrong_stride        paired '^fail '               'cuda::operand(cuda::shared_address(shared.b[stage]), 8192)' 'cuda::operand(cuda::shared_address(shared.b[stage]), 4096)'
finds no_proxy_fence      square 'fence.proxy.async'    'cuda::publish_shared();' ''
finds no_product_fence    square 'wgmma.fence'          'cuda::begin_products();' ''
finds staging_reused      square '^fail '               'if (thread == 0) cuda::wait_stores_read<contract_boxes - 1>();' ''
finds no_wait_at_the_end  square 'store has read'       'if (thread == 0) cuda::wait_stores<0>();' ''
finds no_grid_wait        square 'griddepcontrol.wait'  'cuda::wait_for_previous_kernel();' ''
finds no_init             square 'not initialised'      'for (Barrier &barrier : shared.free) barrier.init(groups * together);' ''
finds no_named_barrier    square '^fail '               'if (thread == 0) cuda::wait_stores_read<contract_boxes - 1>();
    meet(group);' 'if (thread == 0) cuda::wait_stores_read<contract_boxes - 1>();'
finds wrong_multicast     paired 'deadlock'             '(1 << together) - 1' '1'
finds own_arrival_only    paired 'deadlock|^fail '      'arrive_at_all<together>' 'arrive_at_all<1>'
finds store_before_tensor square 'begins at -64'       'at.column + box * 64, at.row' 'at.column + box * 64 - 64, at.row'
finds leaves_its_cluster  paired 'has ended'            'if constexpr (together > 1) cuda::meet_cluster();  //' '//'
echo "$count mistakes were tried"
exit $bad
