# The way of a C guest from the PVH entry to `main` at CPL3, and its interrupt handlers at CPL0.
        .include "start.inc"
        .include "leave-interrupt.inc"

        .equ LINES,             24              # pins of the I/O APIC that may belong to a device
        .equ VECTOR_LINE,       0x60            # the vector of pin 0; those of the others follow
        .equ STUB_SIZE,         32
        .equ INTERRUPT_STATUS,  0x60            # virtio 1.2, 4.2.2
        .equ INTERRUPT_ACK,     0x64

        .text
guest_main:
        movq $wait_handler, %rax                # `int3` is the only `int` of CPL3 that a software KVM delivers
        movq $IDT + 3 * 16, %rdi
        call set_gate
        movq $timer_handler, %rax
        movq $IDT + VECTOR_TIMER * 16, %rdi
        call set_gate
        movq $spurious_handler, %rax
        movq $IDT + VECTOR_SPURIOUS * 16, %rdi
        call set_gate
        movq $line_stubs, %rax
        movq $IDT + VECTOR_LINE * 16, %rdi
        movl $LINES, %ecx
1:      call set_gate
        addq $16, %rdi
        addq $STUB_SIZE, %rax
        decl %ecx
        jnz 1b
        movb $0xff, %al                         # masks the PICs
        outb %al, $0x21
        outb %al, $0xa1
        movq $user_start, %rdx
        movq $STACK3, %rcx
        sti
        jmp enter_user

user_start:
        movq $user_stack_top, %rsp
        call main
        jmp end_guest

# `int3` of `interrupts_wait`: comes back when a handler has set `interrupts_woken`.
wait_handler:
        pushq %rax
        pushq %rcx
        pushq %rdx
1:      cmpl $0, interrupts_woken
        jne leave_interrupt
        sti
        hlt
        cli
        jmp 1b

timer_handler:
        pushq %rax
        pushq %rcx
        pushq %rdx
        incq interrupts_ticks
        movl $1, interrupts_woken
        jmp acknowledge

spurious_handler:                               # takes no acknowledgement
        pushq %rax
        pushq %rcx
        pushq %rdx
        jmp leave_interrupt

        .balign STUB_SIZE
line_stubs:
        .set line, 0
        .rept LINES
        .balign STUB_SIZE
        pushq %rax
        pushq %rcx
        pushq %rdx
        movl $line, %ecx
        jmp line_handler
        .set line, line + 1
        .endr

# Asks each device of the line %ecx why it interrupts, acknowledges just that, and leaves it in `interrupts_pending`.
# The tables count slots from 1; 0 ends the list of a line.
line_handler:
        incq interrupts_taken
        movl $1, interrupts_woken
        movl interrupts_first(, %rcx, 4), %ecx
1:      testl %ecx, %ecx
        jz acknowledge
        movq interrupts_base(, %rcx, 8), %rdx
        movl INTERRUPT_STATUS(%rdx), %eax
        testl %eax, %eax
        jz 2f
        movl %eax, INTERRUPT_ACK(%rdx)
        orl %eax, interrupts_pending(, %rcx, 4)
2:      movl interrupts_next(, %rcx, 4), %ecx
        jmp 1b

        .globl end_guest
        .bss
        .balign 16
        .skip 0x4000
user_stack_top:
