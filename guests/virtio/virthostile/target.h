/* A device under attack. */
#pragma once
#include "device.h"
#include <stdbool.h>
#include <stdint.h>

/* Queues of a device that are attacked, and descriptors of one at most. */
#define QUEUES 8
#define SIZE_MOST 256u

/* Rings that are written by hand. They lie in the sandbox. */
struct rings {
	uint64_t ring, driver, device;
	/* 0 if the queue is not set up. */
	uint32_t size;
	/* The next descriptor to write, and the place (packed) or index (split) to make available. */
	uint16_t slot, next;
	bool wrap;
};

struct target {
	struct device device;
	/* The device's type, and from the second of a type on its number. */
	char name[12];
	struct rings rings[QUEUES];
	unsigned queues;
	bool packed;
	/* Whether the last initialisation was a valid one, so that rings can be filled. */
	bool set_up;
	/* How often it asked to be reset; valid requests that it answered. */
	uint64_t needs_reset, answers;
	/* The queues of valid requests. */
	struct queue valid[3];
};

/* attack-registers.c: one read or write of a register or of the configuration, of any width. */
void attack_registers(struct target *target);

/* attack-setup.c: a valid initialisation over rings in the sandbox; one that breaks rules. */
void attack_valid_setup(struct target *target);
void attack_wild_setup(struct target *target);

/* attack-rings.c: a chain that is almost right or not at all, and a doorbell. */
void attack_rings(struct target *target);

/* probe.c: initialises the device and makes one valid request. False if no answer came in `patience` time stamps. */
bool probe(struct target *target, uint64_t patience);
