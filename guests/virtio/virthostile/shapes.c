#include "shapes.h"
#include "blk.h"
#include "machine.h"
#include "memory.h"
#include "net.h"
#include "numbers.h"
#include "ring.h"

#define VSOCK_HEADER 44
#define CONTROL_BYTES 8

static void add(struct chain *chain, uint64_t address, uint32_t length, bool writable) {
	chain->parts[chain->count++] = (struct part){address, length, DESC_NEXT | (writable ? DESC_WRITE : 0), 0};
}

static uint32_t some_bytes(void) {
	return once_in(4) ? any_length() : 1 + any_below(4096);
}

static uint64_t make_blk_header(const struct target *target) {
	uint64_t capacity = config64(&target->device, BLK_CAPACITY);
	static const uint8_t types[] = {BLK_IN, BLK_OUT, BLK_FLUSH, BLK_GET_ID, 2, 11, 13, 16};
	uint64_t at = any_buffer(target, sizeof(struct blk_header));
	uint64_t sector = once_in(2) ? any_below(capacity + 2) : once_in(2) ? capacity - any_below(3) : any_number();
	write32(at, once_in(8) ? any_number() : types[any_below(sizeof types)]);
	write32(at + 4, once_in(8) ? any_number() : 0);
	write64(at + 8, sector);
	return at;
}

static uint64_t make_net_header(const struct target *target) {
	uint64_t at = any_buffer(target, 2048);
	for (unsigned i = 0; i < NET_HEADER; i += 2) write16(at + i, once_in(3) ? any_number() : 0);
	write8(at + 1, once_in(4) ? any_number() : any_below(6));
	return at;
}

/* 5.3.6.2: port, event, value. */
static uint64_t make_control(const struct target *target) {
	uint64_t at = any_buffer(target, CONTROL_BYTES);
	write32(at, once_in(4) ? any_number() : any_below(4));
	write16(at + 4, once_in(4) ? any_number() : any_below(9));
	write16(at + 6, once_in(4) ? any_number() : any_below(2));
	return at;
}

/* 5.10.6: cids, ports, length, type, operation, flags, credit. */
static uint64_t make_vsock_header(const struct target *target) {
	uint64_t at = any_buffer(target, 8192);
	write64(at, once_in(8) ? any_number() : config64(&target->device, 0));
	write64(at + 8, once_in(8) ? any_number() : 2);
	write32(at + 16, 0x50000000 + any_below(8));
	write32(at + 20, once_in(4) ? any_number() : 1024);
	write32(at + 24, once_in(2) ? 0 : some_bytes());
	write16(at + 28, once_in(8) ? any_number() : 1);
	write16(at + 30, once_in(8) ? any_number() : any_below(9));
	write32(at + 32, any_below(5));
	write32(at + 36, once_in(2) ? any_number() : 0x10000);
	write32(at + 40, once_in(4) ? any_number() : 0);
	return at;
}

static void shape_blk(const struct target *target, struct chain *chain) {
	uint64_t header = make_blk_header(target);
	bool writable = read32(header) != BLK_OUT;
	add(chain, header, sizeof(struct blk_header), false);
	for (uint64_t parts = any_below(4); parts != 0; parts--) {
		add(chain, any_address(target), once_in(3) ? some_bytes() : SECTOR * any_below(9), writable);
	}
	add(chain, any_address(target), 1, true);
}

static void shape_console(const struct target *target, unsigned queue, struct chain *chain) {
	bool control = queue == 3;
	if (control) add(chain, make_control(target), CONTROL_BYTES + any_below(3), false);
	else add(chain, any_address(target), some_bytes(), queue % 2 == 0);
}

void shape_chain(const struct target *target, unsigned queue, struct chain *chain) {
	chain->count = 0;
	bool receives = queue % 2 == 0;
	switch (target->device.id) {
	case ID_BLK: shape_blk(target, chain); break;
	case ID_NET:
		if (!receives) add(chain, make_net_header(target), once_in(4) ? some_bytes() : NET_HEADER, false);
		add(chain, any_address(target), some_bytes(), receives);
		break;
	case ID_CONSOLE: shape_console(target, queue, chain); break;
	case ID_VSOCK:
		if (queue == 1) add(chain, make_vsock_header(target), once_in(4) ? some_bytes() : VSOCK_HEADER, false);
		add(chain, any_address(target), some_bytes(), queue != 1);
		break;
	case ID_BALLOON: add(chain, any_address(target), 4 * any_below(300), queue == 4); break;
	default: add(chain, any_address(target), some_bytes(), true); break;
	}
	chain->parts[chain->count - 1].flags &= ~DESC_NEXT;
}
