// A code object as bytes of the plug-in: LAMINA_DEVICE_CODE is the file's name as a string, LAMINA_SYMBOL what the bytes are called.
    .section .rodata
    .global LAMINA_SYMBOL
    .hidden LAMINA_SYMBOL
    .balign 4096
LAMINA_SYMBOL:
    .incbin LAMINA_DEVICE_CODE
    .byte 0
    .section .note.GNU-stack, "", @progbits
