# exits: round trips through ports and MMIO, for benchmarks. See guests/README.md for its contract.
        .include "start.inc"

        .equ PORT_MARK, 0x4e0                   # 4 bytes out: kind << 8, plus 0 at the start and 1 at the end
        .equ PORT_TARGET, 0x4e4                 # 1 byte out, 1 byte in
        .equ MMIO_TARGET, 0xd0000000            # 4 bytes out, 4 bytes in
        .equ KIND_PORT_OUT, 1
        .equ KIND_PORT_IN, 2
        .equ KIND_MMIO_OUT, 3
        .equ KIND_MMIO_IN, 4

        .text
guest_main:
        movl $10000, %eax
        movq $text_pio, %rsi
        call argument
        movq %rax, %r12
        movl $10000, %eax
        movq $text_mmio, %rsi
        call argument
        movq %rax, %r13
        movl $3, %eax
        movq $text_level, %rsi
        call argument
        testq %rax, %rax
        jz run
        movq $run, %rdx
        movq $STACK3, %rcx
        jmp enter_user

        .macro measure kind, count, name, body:vararg
        movq \count, %rcx
        testq %rcx, %rcx
        jz 2f
        movl $\kind << 8, %eax
        call start
        movl $PORT_TARGET, %edx
        movl $MMIO_TARGET, %edi
        movl $0x5a, %eax
1:      \body
        decq %rcx
        jnz 1b
        movl $\kind << 8 | 1, %eax
        movq \count, %rbx
        movq $\name, %rdi
        call stop
2:
        .endm

run:    measure KIND_PORT_OUT, %r12, name_port_out, outb %al, %dx
        measure KIND_PORT_IN, %r12, name_port_in, inb %dx, %al
        measure KIND_MMIO_OUT, %r13, name_mmio_out, movl %eax, (%rdi)
        measure KIND_MMIO_IN, %r13, name_mmio_in, movl (%rdi), %eax
        movb $EXIT_OK, %al
        jmp end_guest

start:  movl $PORT_MARK, %edx
        outl %eax, %dx
        rdtsc
        shlq $32, %rdx
        orq %rdx, %rax
        movq %rax, %r14
        ret

# Prints the line "exits: <name> n=<count> tsc=<sum>", both in hexadecimal.
stop:   movq %rax, %r8
        rdtsc
        shlq $32, %rdx
        orq %rdx, %rax
        subq %r14, %rax
        movq %rax, %r14
        movq %r8, %rax
        movl $PORT_MARK, %edx
        outl %eax, %dx
        movq $text_exits, %rsi
        call print
        movq %rdi, %rsi
        call print
        movq $text_count, %rsi
        call print
        movq %rbx, %rax
        call print_hex
        movq $text_sum, %rsi
        call print
        movq %r14, %rax
        call print_hex
        jmp print_newline

        .data
text_pio:
        .asciz "pio="
text_mmio:
        .asciz "mmio="
text_level:
        .asciz "level="
text_exits:
        .asciz "exits: "
text_count:
        .asciz " n="
text_sum:
        .asciz " tsc="
name_port_out:
        .asciz "pio-out"
name_port_in:
        .asciz "pio-in"
name_mmio_out:
        .asciz "mmio-out"
name_mmio_in:
        .asciz "mmio-in"
