// contract.json, byte for byte, inside the plug-in, in a section of its own so that tools find it without loading the file.
// LAMINA_CONTRACT is its path.
.section .lamina.contract, "a"
.global lamina_contract_begin
.hidden lamina_contract_begin
lamina_contract_begin:
.incbin LAMINA_CONTRACT
.section .note.GNU-stack, "", %progbits
