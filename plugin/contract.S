// contract.json, byte for byte, inside the plug-in.  LAMINA_CONTRACT is its path.
.section .rodata.lamina_contract, "a"
.global lamina_contract_begin, lamina_contract_end
.hidden lamina_contract_begin, lamina_contract_end
lamina_contract_begin:
.incbin LAMINA_CONTRACT
lamina_contract_end:
.byte 0
.section .note.GNU-stack, "", %progbits
