/* Chains that look like requests. */
#pragma once
#include "target.h"

#define CHAIN_MOST 8

struct part {
	uint64_t address;
	uint32_t length;
	/* `next` 0: the descriptor that comes next. */
	uint16_t flags, next;
};

struct chain {
	unsigned count;
	struct part parts[CHAIN_MOST];
};

/* A chain as the device expects it on that queue, with headers that are partly random. */
void shape_chain(const struct target *target, unsigned queue, struct chain *chain);
