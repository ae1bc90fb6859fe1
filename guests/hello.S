# hello: greets, counts primes at CPL3, ends. See guests/README.md for its contract.
        .include "start.inc"

        .text
guest_main:
        movq $hello_user, %rdx
        movq $STACK3, %rcx
        jmp enter_user

hello_user:
        movq $banner, %rsi
        call print
        movl $20000, %eax
        movq $argument_primes, %rsi
        call argument
        movq %rax, %r12                         # the upper bound
        movl $2, %ebx                           # the candidate
        xorl %r13d, %r13d                       # primes found
        movq %r12, %r14                         # a dot each sixteenth
        shrq $4, %r14
        movq %r14, %r15
candidate:
        cmpq %r12, %rbx
        jae counted
        movl $2, %ecx
divide: movq %rcx, %rax
        mulq %rcx
        cmpq %rbx, %rax
        ja prime
        xorl %edx, %edx
        movq %rbx, %rax
        divq %rcx
        testq %rdx, %rdx
        jz next
        incq %rcx
        jmp divide
prime:  incq %r13
next:   incq %rbx
        cmpq %r15, %rbx
        jb candidate
        addq %r14, %r15
        movl $'.', %eax
        call print_char
        jmp candidate
counted:
        movq $counted_text, %rsi
        call print
        movq %r13, %rax
        call print_decimal
        movq $below_text, %rsi
        call print
        movq %r12, %rax
        call print_decimal
        movq $bye_text, %rsi
        call print
        xorl %eax, %eax
        movq $argument_reset, %rsi
        call argument
        testq %rax, %rax
        jz 1f
        movb $0xfe, %al                         # a guest that asks its machine for a reset
        outb %al, $I8042_COMMAND
1:      movb $EXIT_OK, %al
        jmp end_guest

print_decimal:
        xorl %ecx, %ecx
        movl $10, %r8d
1:      xorl %edx, %edx
        divq %r8
        pushq %rdx
        incl %ecx
        testq %rax, %rax
        jnz 1b
2:      popq %rax
        addl $'0', %eax
        call print_char
        decl %ecx
        jnz 2b
        ret

        .data
banner:
        .ascii "\n"
        .ascii "  Hello from a guest of Baton.\n"
        .ascii "  I am a few hundred bytes of assembly in a virtual machine of my own:\n"
        .ascii "  long mode, user level, no kernel. I will count some primes now.\n"
        .asciz "  "
counted_text:
        .asciz "\n  There are "
below_text:
        .asciz " primes below "
bye_text:
        .asciz ".\n  That was my whole life. Goodbye.\n"
argument_primes:
        .asciz "primes="
argument_reset:
        .asciz "reset="
