/* Block devices (virtio 1.2, 5.2). */
#pragma once
#include "features.h"
#include <stdint.h>

#define SECTOR 512ul

#define BLK_F_SEG_MAX BIT(2)
#define BLK_F_RO BIT(5)
#define BLK_F_FLUSH BIT(9)

/* Offsets in the configuration (5.2.4). */
enum { BLK_CAPACITY = 0, BLK_SEG_MAX = 12 };

/* Types of request, and its status (5.2.6). */
enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, BLK_GET_ID = 8 };
enum { BLK_OK = 0, BLK_IOERR = 1, BLK_UNSUPPORTED = 2 };

#define BLK_ID_BYTES 20

/* A request starts with this, and ends with one byte of status that the device writes. */
struct blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};
