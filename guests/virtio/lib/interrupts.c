#include "interrupts.h"
#include "machine.h"
#include "print.h"

#define LAPIC 0xfee00000ul
#define LAPIC_SPURIOUS 0xf0
#define LAPIC_LVT_TIMER 0x320
#define LAPIC_INITIAL 0x380
#define LAPIC_DIVIDE 0x3e0
#define IOAPIC 0xfec00000ul
#define VECTOR_TIMER 0x40
#define VECTOR_SPURIOUS 0xff
#define VECTOR_LINE 0x60 /* also in start.S */
#define LINES 24
#define TIMER_PERIODIC 0x20000
#define REDIRECTION_LEVEL 0x8000

/* The handlers' tables: they count slots from 1. */
volatile uint32_t interrupts_first[LINES], interrupts_next[SLOTS + 1], interrupts_pending[SLOTS + 1];
volatile uint64_t interrupts_base[SLOTS + 1];
volatile uint32_t interrupts_woken;
volatile uint64_t interrupts_taken, interrupts_ticks;

static uint32_t trigger;

void interrupts_start(bool level) {
	trigger = level ? REDIRECTION_LEVEL : 0;
	write32(LAPIC + LAPIC_SPURIOUS, 0x100 | VECTOR_SPURIOUS);
}

void interrupts_route(unsigned slot, uint64_t base, unsigned line) {
	if (line >= LINES) {
		print("no I/O APIC pin %u\n", line);
		end(EXIT_ARGUMENT);
	}
	interrupts_base[slot + 1] = base;
	interrupts_next[slot + 1] = interrupts_first[line];
	interrupts_first[line] = slot + 1;
	write32(IOAPIC, 0x11 + 2 * line); /* to APIC 0 */
	write32(IOAPIC + 16, 0);
	write32(IOAPIC, 0x10 + 2 * line); /* fixed, physical, active high, not masked */
	write32(IOAPIC + 16, trigger | (VECTOR_LINE + line));
}

void interrupts_timer(unsigned hertz) {
	write32(LAPIC + LAPIC_DIVIDE, 0xb); /* by 1: KVM's and QEMU's timer counts nanoseconds */
	write32(LAPIC + LAPIC_LVT_TIMER, TIMER_PERIODIC | VECTOR_TIMER);
	write32(LAPIC + LAPIC_INITIAL, 1000000000u / hertz);
}

uint32_t interrupts_pending_of(unsigned slot) {
	return __atomic_exchange_n(&interrupts_pending[slot + 1], 0, __ATOMIC_SEQ_CST);
}

void interrupts_begin(void) {
	__atomic_store_n(&interrupts_woken, 0, __ATOMIC_SEQ_CST);
}

void interrupts_wait(void) {
	if (interrupts_woken == 0) asm volatile("int3" : : : "memory");
}
