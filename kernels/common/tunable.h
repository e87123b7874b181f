// A number that `make tune` varies: LAMINA_TUNABLE(name, value) is a constexpr int, another one where LAMINA_TUNE_name is
// defined as `0, OTHER`.  The rest of its line says what to try and where; bench/gpu/tune.py reads it:
//
//   LAMINA_TUNABLE(contract_stages, 4);  // cuda_sm90a: 3 4 5 at N=512,1024 C=128
#pragma once

#define LAMINA_TUNABLE(name, value) constexpr int name = LAMINA_TUNABLE_PICK(LAMINA_TUNE_##name, value, 0)
// LAMINA_TUNE_name is one word where nobody defined it, and two where somebody did: the second argument is then the other value.
#define LAMINA_TUNABLE_PICK(...) LAMINA_TUNABLE_SECOND(__VA_ARGS__)
#define LAMINA_TUNABLE_SECOND(first, second, ...) second
