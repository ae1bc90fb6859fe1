#include "machine.h"
#include "numbers.h"
#include "ring.h"
#include "shapes.h"

/* Changes one thing about the chain, or nothing. */
static void mutate(const struct target *target, struct chain *chain) {
	struct part *part = &chain->parts[any_below(chain->count)];
	switch (any_below(12)) {
	case 0: part->address = any_address(target); break;
	case 1: part->length = any_length(); break;
	case 2: part->flags ^= DESC_WRITE; break;
	case 3: part->flags ^= DESC_NEXT; break;
	case 4: part->flags |= DESC_INDIRECT; break;
	case 5: part->flags = any_number(); break;
	case 6: part->next = any_number(); break;
	case 7: chain->parts[chain->count - 1].flags |= DESC_NEXT; break;
	case 8:
		if (chain->count > 1) chain->count--;
		break;
	default: break;
	}
}

static void any_chain(const struct target *target, struct chain *chain) {
	chain->count = 1 + any_below(CHAIN_MOST);
	for (unsigned i = 0; i < chain->count; i++) {
		uint64_t address = any_address(target);
		uint16_t flags = any_below(4) | (i + 1 < chain->count ? DESC_NEXT : 0);
		chain->parts[i] = (struct part){address, any_length(), flags, 0};
	}
}

static void put(uint64_t at, const struct part *part, uint16_t third, uint16_t fourth) {
	write64(at, part->address);
	write32(at + 8, part->length);
	write16(at + 12, third);
	write16(at + 14, fourth);
}

/* A table of the chain somewhere in the sandbox, or a place that is none, or a length that is none. */
static void make_table(const struct target *target, struct chain *chain) {
	uint64_t table = any_table(target);
	for (unsigned i = 0; i < chain->count; i++) {
		const struct part *part = &chain->parts[i];
		uint16_t next = part->next != 0 ? part->next : i + 1;
		if (target->packed) put(table + 16 * i, part, 0, part->flags);
		else put(table + 16 * i, part, part->flags, next);
	}
	uint32_t length = 16 * chain->count;
	if (once_in(6)) length = once_in(2) ? any_length() : 0x100000;
	if (once_in(6)) table = any_address(target);
	chain->count = 1;
	chain->parts[0] = (struct part){table, length, DESC_INDIRECT | (once_in(8) ? any_number() : 0), 0};
}

/* Links the descriptors as they are to follow, or in a loop, or out of the table. */
static void put_split(struct rings *rings, const struct chain *chain) {
	uint16_t first = rings->slot;
	for (unsigned i = 0; i < chain->count; i++) {
		const struct part *part = &chain->parts[i];
		uint16_t at = rings->slot;
		rings->slot = (rings->slot + 1) % rings->size;
		uint16_t next = part->next != 0 ? part->next : once_in(32) ? first : rings->slot;
		put(rings->ring + 16 * at, part, part->flags, next);
	}
	uint16_t head = once_in(32) ? any_number() : first;
	write16(rings->driver + 4 + 2 * (rings->next % rings->size), head);
	rings->next += once_in(16) ? any_number() : once_in(16) ? any_below(600) - 300 : 1;
	fence();
	write16(rings->driver + 2, rings->next);
}

static void put_packed(struct rings *rings, const struct chain *chain) {
	uint16_t first = rings->slot, first_flags = 0;
	uint16_t id = once_in(8) ? any_number() : any_below(rings->size);
	for (unsigned i = 0; i < chain->count; i++) {
		const struct part *part = &chain->parts[i];
		uint16_t flags = part->flags ^ (once_in(32) ? DESC_AVAIL : once_in(32) ? DESC_USED : 0);
		flags = (flags & ~(DESC_AVAIL | DESC_USED)) | (rings->wrap ? DESC_AVAIL : DESC_USED);
		put(rings->ring + 16 * rings->slot, part, id, i == 0 ? 0 : flags);
		if (i == 0) first_flags = flags;
		if (++rings->slot == rings->size) {
			rings->slot = 0;
			rings->wrap = !rings->wrap;
		}
	}
	fence();
	write16(rings->ring + 16 * first + 14, first_flags);
}

static void spoil_suppression(const struct target *target, const struct rings *rings) {
	if (target->packed) write32(rings->driver, any_number());
	else write16(rings->driver + (once_in(2) ? 0 : 4 + 2 * rings->size), any_number());
}

void attack_rings(struct target *target) {
	if (!target->set_up || once_in(64)) attack_valid_setup(target);
	if (!target->set_up) return;
	unsigned queue = any_below(target->queues);
	struct rings *rings = &target->rings[queue];
	if (rings->size != 0) {
		struct chain chain;
		if (once_in(3)) any_chain(target, &chain);
		else shape_chain(target, queue, &chain);
		mutate(target, &chain);
		if (once_in(4)) make_table(target, &chain);
		if (once_in(16)) spoil_suppression(target, rings);
		if (target->packed) put_packed(rings, &chain);
		else put_split(rings, &chain);
	}
	write32(target->device.base + REG_QUEUE_NOTIFY, once_in(16) ? any_number() : queue);
}
