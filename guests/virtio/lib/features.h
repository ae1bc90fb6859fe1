/* Feature bits of the ring and transport (virtio 1.2, 6), and what the command line asks of every device. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define BIT(n) (1ul << (n))

#define F_INDIRECT_DESC BIT(28)
#define F_EVENT_IDX BIT(29)
#define F_VERSION_1 BIT(32)
#define F_ACCESS_PLATFORM BIT(33)
#define F_RING_PACKED BIT(34)
#define F_IN_ORDER BIT(35)
#define F_ORDER_PLATFORM BIT(36)

/* Of `ring=`, `indirect=`, `event=`, `inorder=`, `queue=`, `irq=` and `trigger=`. */
struct options {
	bool packed, indirect, event, in_order;
	bool interrupts, level;
	/* The most descriptors that a queue gets. */
	uint32_t queue_size;
};

extern struct options options;

/* Reads them; `interrupts` is what `irq=` is if it is not there. */
void options_read(bool interrupts);

/* The ring features to ask for: F_VERSION_1, and what the options say. */
uint64_t options_features(void);
