# ticker: counts, dirties memory, takes interrupts, and checks at each step that nothing was lost, doubled or turned back.
# See guests/README.md for its contract.
#
# Through the whole run: r15 the counter, r14 and rbp patterns, r12 the next page to dirty, r13 the sweep over the pages.
        .include "start.inc"
        .include "interrupts.inc"
        .include "status.inc"

        .equ PATTERN_R14, 0x5a17b9c3d4e6f081
        .equ PATTERN_RBP, 0xa5e8463c2b190f7e
        .equ PATTERN_XMM, 0x0123456789abcdef
        .equ PAGE_FACTOR, 0x9e3779b97f4a7c15
        .equ MMIO_EXPECTED, 0x04030201fffefdfc
        .equ OUTS_WORDS, 8

        .equ MIX_HLT, 1
        .equ MIX_SPIN3, 2
        .equ MIX_SPIN0, 4
        .equ MIX_IN, 8
        .equ MIX_OUTS, 16
        .equ MIX_MMIO, 32

        .macro option name, variable, default
        movq $\default, %rax
        movq $text_\name, %rsi
        call argument
        movq %rax, \variable
        .pushsection .data
text_\name:
        .asciz "\name="
        .popsection
        .pushsection .data.options, "aw"
        .balign 8
\variable:
        .quad 0
        .popsection
        .endm

# Reports what is wrong: B, the code, what was found and what was expected (%rax, %rbx). Keeps all registers but rdx, rsi.
        .macro bad code
        movq $\code, %rdi
        call report_bad
        .endm

        .text
guest_main:
        option ticks, option_ticks, 0           # ends after so many; 0: never
        option rate, option_rate, 100           # timer interrupts, and so ticks, in a second; 0: ticks without waiting
        option dirty, option_dirty, 4           # pages dirtied by each tick
        option pages, option_pages, 4096        # pages to dirty in all
        option slots, option_slots, 0x100000    # counts before the slots are used again; a power of two
        option print, option_print, 6           # a line T<counter> after each 2^print ticks
        option dot, option_dot, 1               # a dot for each tick
        option mix, option_mix, 1               # what else to do in each tick
        option level, option_level, 3           # where the ticks are counted
        option gsi, option_gsi, 5               # the I/O APIC's pin; 24 and more: none
        option timer, option_timer, 0           # 0 periodic, 1 one-shot, 2 TSC deadline
        option period, option_period, 2500000   # time stamps between two TSC deadlines
        option spin, option_spin, 20000         # rounds of the loops that only spin
        movabsq $MAGIC, %rax
        movq %rax, STATUS_MAGIC
        movq option_slots, %rax
        leaq -1(%rax), %rdx
        movq %rdx, slot_mask
        testq %rax, %rdx
        jnz wrong_option
        cmpq $0, option_pages
        je wrong_option
        cmpq $0, option_rate
        je 1f
        cmpq $1000000, option_rate
        ja wrong_option
1:
        movl option_gsi, %edi
        call interrupts_start
        movl $1000000000, %eax                  # KVM's local APIC timer counts nanoseconds
        movq option_rate, %rcx
        testq %rcx, %rcx
        jnz 1f
        movl $100, %ecx
1:      xorl %edx, %edx
        divl %ecx
        movl %eax, timer_count
        movl $LAPIC, %edx
        movl $VECTOR_TIMER, %eax
        cmpl $1, option_timer
        je 2f
        ja 1f
        orl $0x20000, %eax                      # periodic
        jmp 2f
1:      orl $0x40000, %eax                      # TSC deadline
2:      movl %eax, LAPIC_LVT_TIMER(%rdx)
        movl timer_count, %eax
        movl %eax, LAPIC_INITIAL(%rdx)
        call timer_again

        movq $started_text, %rsi
        call print
        xorl %r15d, %r15d
        xorl %r12d, %r12d
        xorl %r13d, %r13d
        movq $PATTERN_R14, %r14
        movq $PATTERN_RBP, %rbp
        sti
        cmpq $0, option_level
        je main_loop
        movq $set_vector_register, %rdx
        call call_user

main_loop:
        call wait
        cmpq $0, option_level
        je 1f
        movq $tick_at_user, %rdx
        call call_user
        jmp 2f
1:      call tick
2:      call check_kernel_tsc
        testb $MIX_SPIN0, option_mix
        jz 3f
        movq $PHASE_SPIN0, STATUS_PHASE
        movq option_spin, %rcx                  # a software KVM runs this a thousand times slower than CPL3
        shrq $6, %rcx
        incq %rcx
        call spin
3:      cmpq $0, option_level                   # odd counts talk to devices from CPL0, even ones from CPL3
        je 4f
        testq $1, %r15
        jz 5f
4:      call talk
5:      movq option_ticks, %rax
        testq %rax, %rax
        jz main_loop
        cmpq %rax, %r15
        jb main_loop

        cli
        movq $PHASE_DONE, STATUS_PHASE
        movq $summary_ticks, %rsi
        call print
        movq %r15, %rax
        call print_hex
        movq $summary_lapic, %rsi
        call print
        movq STATUS_LAPIC, %rax
        call print_hex
        movq $summary_irq, %rsi
        call print
        movq STATUS_IRQ, %rax
        call print_hex
        movq $summary_msi, %rsi
        call print
        movq STATUS_MSI, %rax
        call print_hex
        movq $summary_bad, %rsi
        call print
        movq STATUS_BAD, %rax
        call print_hex
        call print_newline
        movq $1, STATUS_DONE
        movb $EXIT_OK, %al
        cmpq $0, STATUS_BAD
        je end_guest
        movb $EXIT_BAD, %al
        jmp end_guest

wrong_option:
        movq $wrong_text, %rsi
        call print
        movb $EXIT_ARGUMENT, %al
        jmp end_guest

# Waits for a timer interrupt that no tick has answered: in HLT, or spinning at CPL3 (at CPL0 with level=0).
wait:   cmpq $0, option_rate
        je 3f
        testb $MIX_HLT, option_mix
        jz 2f
        movq $PHASE_HLT, STATUS_PHASE
1:      cli
        movq STATUS_LAPIC, %rax
        cmpq %rax, answered
        jne 4f
        sti
        hlt
        jmp 1b
2:      movq $PHASE_WAIT, STATUS_PHASE
        movq $wait_at_user, %rdx
        cmpq $0, option_level
        jne call_user
        call wait_for_timer
3:      ret
4:      movq %rax, answered
        sti
        ret

wait_at_user:
        call wait_for_timer
        int3
wait_for_timer:
1:      movq STATUS_LAPIC, %rax
        cmpq %rax, answered
        je 1b
        movq %rax, answered
        ret

timer_again:                                    # in the timer's handler: may change rax, rcx, rdx
        cmpl $1, option_timer
        jb 2f
        ja 1f
        movl $LAPIC, %edx
        movl timer_count, %eax
        movl %eax, LAPIC_INITIAL(%rdx)
        ret
1:      rdtsc
        addl option_period, %eax
        adcl option_period + 4, %edx
        movl $MSR_TSC_DEADLINE, %ecx
        wrmsr
2:      ret

set_vector_register:
        movq $PATTERN_XMM, %rax
        movq %rax, %xmm15
        int3

tick_at_user:
        call tick
        movq $PATTERN_XMM, %rbx
        movq %xmm15, %rax
        cmpq %rbx, %rax
        je 1f
        bad 7
        movq %rbx, %xmm15
1:      testb $MIX_SPIN3, option_mix
        jz 2f
        movq $PHASE_SPIN3, STATUS_PHASE
        movq option_spin, %rcx
        call spin
2:      testq $1, %r15
        jnz 3f
        call talk
3:      int3

# Loops %rcx times, and checks that the loop's own registers agree.
spin:   movq %rcx, %rdi
        xorl %ebx, %ebx
        xorl %eax, %eax
1:      addq $3, %rbx
        incq %rax
        decq %rdi
        jnz 1b
        leaq (%rax, %rax, 2), %rdx
        cmpq %rdx, %rbx
        jne 2f
        cmpq %rcx, %rax
        je 3f
2:      bad 2
3:      ret

check_kernel_tsc:
        rdtsc
        shlq $32, %rdx
        orq %rdx, %rax
        movq STATUS_TSC0, %rbx
        movq %rax, STATUS_TSC0
        cmpq %rbx, %rax
        jae 1f
        bad 8
1:      ret

report_bad:
        incq STATUS_BAD
        cmpq $64, STATUS_BAD                    # the console is for the first ones
        ja 1f
        pushq %rax
        movl $'B', %eax
        call print_char
        movq %rdi, %rax
        call print_hex
        movq (%rsp), %rax
        call print_space_hex
        movq %rbx, %rax
        call print_space_hex
        call print_newline
        popq %rax
1:      ret

        .data
        .balign 8
        .equ MAGIC, 0x4b49544e4f544142          # "BATONTIK"
answered:
        .quad 0
slot_mask:
        .quad 0
timer_count:
        .quad 0
started_text:
        .asciz "ticker\n"
summary_ticks:
        .asciz "\nticker: ticks="
summary_lapic:
        .asciz " lapic="
summary_irq:
        .asciz " irq="
summary_msi:
        .asciz " msi="
summary_bad:
        .asciz " bad="
wrong_text:
        .asciz "ticker: slots must be a power of two, pages not 0, rate at most 1000000\n"

        .include "ticker-count.inc"
        .include "ticker-devices.inc"
