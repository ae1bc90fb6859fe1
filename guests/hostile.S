# hostile: does what a guest should not. See guests/README.md for its contract.
        .include "start.inc"

        .equ MMIO_FIRST, 0xc0000000
        .equ MMIO_END, 0xfec00000
        .equ GARBAGE, 0x01000000                # where the bytes to execute lie
        .equ GARBAGE_SIZE, 0x10000

        .macro mode name, label
        movq $-1, %rax
        movq $text_\name, %rsi
        call argument
        testq %rax, %rax
        jz \label
        .pushsection .data
text_\name:
        .asciz "mode=\name"
        .popsection
        .endm

        .text
guest_main:
        movl $1, %eax
        movq $text_step, %rsi
        call argument
        movq %rax, %r12                         # sweeps visit every r12-th port or page
        movl $1, %eax
        movq $text_seed, %rsi
        call argument
        movq %rax, %r13
        movl $100, %eax
        movq $text_rounds, %rsi
        call argument
        movq %rax, %r14
        movl $0x10000, %eax                     # none
        movq $text_skip, %rsi
        call argument
        movl %eax, skip_more
        movl %eax, skip_more + 4
        mode triple, triple_fault
        mode garbage0, garbage0
        mode garbage3, garbage3
        mode ports, ports
        mode mmio, mmio
        mode sweep, sweep
        mode halt, halt
        movq $text_modes, %rsi
        call print
        movb $EXIT_ARGUMENT, %al
        jmp end_guest

triple_fault:
        lidt no_idt
        ud2

halt:   cli
        hlt
        jmp halt

# Executes pseudo-random bytes, again and again with the next ones after each exception, `rounds` times.
garbage0:
        movl $0, garbage_level
        jmp garbage
garbage3:
        movl $3, garbage_level
garbage:
        movq %r13, garbage_seed
        movq %r14, garbage_rounds
        movq $garbage_round, %rax
        movq %rax, exception_hook
garbage_round:                                  # garbage may have changed any register
        cld
        movq $STACK0, %rsp
        movq garbage_rounds, %rax
        testq %rax, %rax
        jz done
        decq garbage_rounds
        movq garbage_seed, %r13
        movq $GARBAGE, %rdi                     # xorshift64; few bytes, since CPL0 may be slow
        movl $64, %ecx
2:      movq %r13, %rax
        shlq $13, %rax
        xorq %rax, %r13
        movq %r13, %rax
        shrq $7, %rax
        xorq %rax, %r13
        movq %r13, %rax
        shlq $17, %rax
        xorq %rax, %r13
        movq %r13, (%rdi)
        addq $8, %rdi
        decl %ecx
        jnz 2b
        movq %r13, garbage_seed
        movw $0x0b0f, (%rdi)                    # ud2, at the end
        movq $GARBAGE, %rdx
        cmpl $0, garbage_level
        je 3f
        movq $STACK3, %rcx
        jmp enter_user
3:      jmp *%rdx

sweep:  call sweep_ports
        call sweep_mmio
        jmp done
ports:  call sweep_ports
        jmp done
mmio:   call sweep_mmio
done:   movl $COM1 + 3, %edx                    # a sweep leaves the UART in any state
        movb $3, %al
        outb %al, %dx
        movl $COM1 + 1, %edx
        xorl %eax, %eax
        outb %al, %dx
        movl $COM1 + 4, %edx
        movb $3, %al
        outb %al, %dx
        movq $text_done, %rsi
        call print
        movb $EXIT_OK, %al
        jmp end_guest

# Reads and writes every port, with each access size where it is aligned, but those that end or reset the machine.
sweep_ports:
        xorl %ebx, %ebx
1:      movl $1, %ebp
        call port_allowed
        jc 2f
        movl %ebx, %edx
        inb %dx, %al
        imull $0x9d, %ebx, %eax
        outb %al, %dx
2:      testl $1, %ebx
        jnz 4f
        movl $2, %ebp
        call port_allowed
        jc 3f
        movl %ebx, %edx
        inw %dx, %ax
        imull $0x9d3b, %ebx, %eax
        outw %ax, %dx
3:      testl $3, %ebx
        jnz 4f
        movl $4, %ebp
        call port_allowed
        jc 4f
        movl %ebx, %edx
        inl %dx, %eax
        imull $0x9e3779b1, %ebx, %eax
        outl %eax, %dx
4:      addl %r12d, %ebx
        cmpl $0x10000, %ebx
        jb 1b
        ret

# Sets the carry if the %ebp bytes at port %ebx touch a port to be left alone.
port_allowed:
        cmpl $0xcf8, %ebx                       # the PCI address register as a whole: resets nothing
        jne 1f
        cmpl $4, %ebp
        je 4f
1:      movl $skip_ranges, %esi
2:      cmpl $skip_end, %esi
        jae 4f
        leal (%rbx, %rbp), %eax
        cmpl (%rsi), %eax                       # ends before the range?
        jbe 3f
        cmpl 4(%rsi), %ebx                      # starts after it?
        ja 3f
        stc
        ret
3:      addl $8, %esi
        jmp 2b
4:      clc
        ret

# Reads and writes a register in every page of the hole below the I/O APIC.
sweep_mmio:
        movl $MMIO_FIRST, %ebx
        movq %r12, %r15
        shlq $12, %r15
1:      movl (%rbx), %eax
        movl %ebx, (%rbx)
        addq %r15, %rbx
        movl $MMIO_END, %eax
        cmpq %rax, %rbx
        jb 1b
        ret

        .data
        .balign 8
no_idt: .word 0
        .quad 0
        .balign 8
garbage_seed:
        .quad 0
garbage_rounds:
        .quad 0
garbage_level:
        .long 0
        .balign 8
skip_ranges:                                    # first and last port
        .long 0x64, 0x64                        # i8042 command: reset
        .long 0x92, 0x92                        # system control port A: reset
        .long 0xf4, 0xf4                        # debug exit
        .long 0x600, 0x607                      # ACPI sleep and PM registers of several machines
        .long 0xcf9, 0xcf9                      # reset control
        .long 0xb000, 0xb03f                    # ACPI PM registers of others
skip_more:
        .long 0x10000, 0x10000                  # the parameter skip=
skip_end:
text_step:
        .asciz "step="
text_seed:
        .asciz "seed="
text_rounds:
        .asciz "rounds="
text_skip:
        .asciz "skip="
text_done:
        .asciz "\nhostile: done\n"
text_modes:
        .asciz "hostile: mode=triple|garbage0|garbage3|ports|mmio|sweep|halt\n"
