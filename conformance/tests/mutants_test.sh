#!/usr/bin/env bash
# Conform finds what it is for: each mistake, put around a right build, fails the check that should see it, with words that say so.
# The same wrapper without a mistake passes the same checks.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=build/mutants
mkdir -p $out
reference=$PWD/$(ls build/plugins/triangle_multiplication-*-reference.so)
export LAMINA_MUTANT_OF=$reference
found=0; missed=0

mutant() { gcc -std=c11 -O1 -fPIC -shared -Wall -Wextra -Werror -I. -DMISTAKE="$1" -o "$out/$1.so" conformance/tests/mutant.c -ldl; }
conform() { build/bin/lamina conform "$out/$1.so" --against "$reference" --filter "$2" >"$out/$1.log" 2>&1; }

finds() {  # finds MISTAKE FILTER WORDS: conform fails there (exit code 14) and says the words
  local code=0
  [ -f "$out/NONE.so" ] || mutant NONE
  conform NONE "$2" || { echo "the wrapper alone fails '$2':"; cat $out/NONE.log; exit 1; }
  mutant "$1"
  conform "$1" "$2" || code=$?
  if [ $code = 14 ] && grep -q "^fail " "$out/$1.log" && grep -qE "$3" "$out/$1.log"; then found=$((found + 1)); return; fi
  echo "MISSED: $1 under '$2' (exit code $code, words '$3')"; tail -n 12 "$out/$1.log"; missed=$((missed + 1))
}
rm -f $out/*.so
finds ONE_ELEMENT            'case boltz_width dtype=float32'   'at most'
finds SMALL_ERROR_EVERYWHERE 'case boltz_width dtype=float32'   'relative Frobenius error'
finds FORGETS_LAST_ROW       'case width'                       'in the row from|Frobenius'
finds FLIPPED_MASK_CELL      'case boltz_width dtype=float32'   'at most'
finds READS_PAST_END         'case size'                        "argument 'pair', 0 bytes past its end"
finds READS_BEFORE_BEGIN     'case size'                        "argument 'pair', 1 bytes before its begin"
finds WRITES_PAST_END        'case size'                        "past its end"
finds WRITES_INPUT           'case size'                        "read-only"
finds WRITES_PAST_WORKSPACE  'case size'                        "workspace"
finds HIDES_NAN              'case not_a_number_under_mask'     'the reference says (-)?nan'
finds WRITES_GAPS            'case pair_layout'                 'gap between rows'
finds NEVER_TWICE_THE_SAME   'case every_switch'                'second run'
finds READS_OLD_WORKSPACE    'case every_switch'                'workspace content'
finds UNFINISHED_PACK        'property packing twice'           'gives other bytes'
finds IMPURE_NEED            'case one_bias'                    'plan_need'
finds WRONG_INFER            'case one_bias'                    'infer: argument'
finds CRASHES                'case one_bias'                    'aborted'
finds ACCEPTS_ANYTHING       'refusal forward pair'             'run says OK; expected INVALID_ARGUMENT'
finds BLAMES_ANOTHER         'refusal forward pair'             'expected .* for argument 0'
finds ENDLESS_MESSAGE        'refusal forward pair'             'NUL-terminated'
finds WRITES_WHEN_REFUSING   'refusal forward pair'             'refused, but wrote'
finds IGNORES_FLAGS          'struct members of lamina_plan'    'plan flag bit'
finds READS_PAST_STRUCT      'struct sizes of lamina_call'      'a struct of the caller'
finds DIES_AFTER_FORK        'property use after fork'          'after fork'
finds ONE_AT_A_TIME          'property concurrent runs'         'other bytes'
echo "$found mistakes found, $missed missed"
[ $missed = 0 ]
