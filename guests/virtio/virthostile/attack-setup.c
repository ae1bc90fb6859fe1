#include "features.h"
#include "machine.h"
#include "memory.h"
#include "numbers.h"

static void write_address(struct target *target, unsigned reg, uint64_t address) {
	write32(target->device.base + reg, address);
	write32(target->device.base + reg + 4, address >> 32);
}

static uint64_t any_features(struct target *target) {
	uint64_t features = target->device.offered & (once_in(2) ? -1ul : any_number());
	if (!options.packed || once_in(2)) features &= ~F_RING_PACKED;
	return features | (target->device.offered & F_VERSION_1);
}

static void write_features(struct target *target, uint64_t features) {
	for (unsigned word = 0; word < 2; word++) {
		write32(target->device.base + REG_DRIVER_FEATURES_SEL, word);
		write32(target->device.base + REG_DRIVER_FEATURES, features >> (32 * word));
	}
}

static void set_up_rings(struct target *target, unsigned index) {
	uint64_t base = target->device.base;
	struct rings *rings = &target->rings[index];
	*rings = (struct rings){.wrap = true};
	write32(base + REG_QUEUE_SEL, index);
	uint32_t most = read32(base + REG_QUEUE_NUM_MAX);
	if (most == 0) return;
	uint32_t size = SIZE_MOST >> any_below(9);
	while (size > most) size >>= 1;
	rings->size = size;
	rings->ring = rings_of(target, index);
	rings->driver = rings->ring + 0x2000;
	rings->device = rings->ring + 0x3000;
	memset((void *)rings->ring, 0, 0x4000);
	write32(base + REG_QUEUE_NUM, size);
	write_address(target, REG_QUEUE_DESC, rings->ring);
	write_address(target, REG_QUEUE_DRIVER, rings->driver);
	write_address(target, REG_QUEUE_DEVICE, rings->device);
	write32(base + REG_QUEUE_READY, 1);
	target->queues = index + 1;
}

void attack_valid_setup(struct target *target) {
	uint64_t base = target->device.base;
	device_reset(&target->device);
	write32(base + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	target->device.agreed = any_features(target);
	target->packed = device_has(&target->device, F_RING_PACKED);
	write_features(target, target->device.agreed);
	write32(base + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
	target->queues = 0;
	for (unsigned i = 0; i < QUEUES; i++) set_up_rings(target, i);
	target->set_up = (read32(base + REG_STATUS) & STATUS_FEATURES_OK) != 0 && target->queues != 0;
	write32(base + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
}

void attack_wild_setup(struct target *target) {
	uint64_t base = target->device.base;
	static const uint32_t sizes[] = {0, 1, 2, 3, 5, 7, 100, 128, 255, 256, 257, 1023, 32768, 32769, 65535, 65536, -1u};
	target->set_up = false;
	if (!once_in(4)) device_reset(&target->device);
	if (!once_in(4)) write32(base + REG_STATUS, any_below(16));
	uint64_t features = once_in(2) ? any_number() : any_features(target);
	write_features(target, options.packed ? features : features & ~F_RING_PACKED);
	write32(base + REG_STATUS, any_below(16));
	for (unsigned i = 0; i < QUEUES; i++) {
		write32(base + REG_QUEUE_SEL, once_in(8) ? any_number() : any_below(QUEUES));
		write32(base + REG_QUEUE_NUM, sizes[any_below(sizeof sizes / sizeof *sizes)]);
		for (unsigned reg = REG_QUEUE_DESC; reg <= REG_QUEUE_DEVICE; reg += 0x10) {
			write_address(target, reg, any_ring(target));
		}
		write32(base + REG_QUEUE_READY, once_in(8) ? any_number() : 1);
	}
	write32(base + REG_STATUS, once_in(4) ? any_number() & 0xff : 15);
	for (unsigned i = 0; i < 4; i++) write32(base + REG_QUEUE_NOTIFY, any_below(QUEUES));
}
