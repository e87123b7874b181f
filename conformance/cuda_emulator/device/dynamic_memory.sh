#!/usr/bin/env bash
# dynamic_memory.sh OBJECT: the assembly that gives every `extern __shared__ char dynamic[]` of OBJECT the same memory, a thread's own, as all of
# them name the same on a GPU, and lamina_emulator_shared_memory(), which says where the calling thread has it.  227 KB, as compute capability 9.0 has.
set -euo pipefail
echo '.section .tbss, "awT", @nobits'
echo '.balign 1024'
nm --undefined-only "$1" | awk '$2 ~ /7dynamicE$/ { print ".globl " $2 "\n.type " $2 ", @object\n" $2 ":" }'
cat <<'END'
memory:
.zero 232448
.text
.globl lamina_emulator_shared_memory
.type lamina_emulator_shared_memory, @function
lamina_emulator_shared_memory:
  push %rbp
  leaq memory@tlsld(%rip), %rdi
  call __tls_get_addr@PLT
  leaq memory@dtpoff(%rax), %rax
  pop %rbp
  ret
.section .note.GNU-stack, "", @progbits
END
