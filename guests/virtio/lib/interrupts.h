/* Interrupts of virtio-mmio devices through the I/O APIC, and of the local APIC's timer. start.S has the handlers. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Slots that can be discovered. */
#define SLOTS 32

/* What InterruptStatus says (virtio 1.2, 4.2.2). */
enum { INTERRUPT_USED = 1, INTERRUPT_CONFIG = 2 };

/* Interrupts of devices that the handler took, and ticks of the timer. */
extern volatile uint64_t interrupts_taken, interrupts_ticks;

/* Enables the local APIC. `level`: lines are level-triggered, else edges count. */
void interrupts_start(bool level);

/* Lets the device in that slot (below SLOTS), with its registers at `base`, interrupt by the I/O APIC pin `line`. */
void interrupts_route(unsigned slot, uint64_t base, unsigned line);

/* Ticks `hertz` times in a second, from now on. */
void interrupts_timer(unsigned hertz);

/* The InterruptStatus bits that the slot's interrupts had since the last call. */
uint32_t interrupts_pending_of(unsigned slot);

/* Call before looking for work: an interrupt from now on ends the next wait. */
void interrupts_begin(void);

/* Sleeps in HLT until an interrupt has come since `interrupts_begin`. */
void interrupts_wait(void);
