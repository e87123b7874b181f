// Device code as bytes of the plug-in: LAMINA_DEVICE_CODE is the file's name as a string.
    .section .rodata
    .global lamina_device_code
    .hidden lamina_device_code
    .balign 64
lamina_device_code:
    .incbin LAMINA_DEVICE_CODE
    .byte 0
    .section .note.GNU-stack, "", @progbits
