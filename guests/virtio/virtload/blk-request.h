/* The requests of the block load, and what it knows of the disk. */
#pragma once
#include "blk.h"
#include "load.h"

/* Requests in flight at most. */
#define DEPTH 8
/* The unit of the disk that is written and checked. */
#define BLOCK 4096ul
/* Blocks of a request at most, and parts that their bytes are cut into. */
#define SPAN 4
#define CUTS 12
/* Parts of a request at most: two of the header, the data, the status. */
#define PARTS (CUTS + 3)

struct request {
	struct blk_header header;
	uint8_t status;
	bool busy;
	uint32_t blocks, bytes, generation;
	uint64_t block;
	uint8_t *data;
};

struct blk {
	struct queue queue;
	struct request requests[DEPTH];
	unsigned depth, cuts;
	/* The blocks that there are and are used, and how many may be. */
	uint64_t random, blocks, most;
	/* Whether the disk may come and go: requests may then fail. */
	bool plugs;
	/* Of each block the number of the write that it holds (0: not known), and whether a request is at it. */
	uint32_t *generation;
	bool *locked;
	uint32_t newest;
};

/* Chooses what the request does, and fills it in; false if all blocks that it tried are taken. */
bool request_choose(struct load *load, struct request *request);

/* Cuts it into parts, at most PARTS; gives how many there are. */
unsigned request_cut(struct blk *blk, struct request *request, struct segment *parts);

/* Checks what the device did, and frees the request. */
void request_check(struct load *load, struct request *request, uint32_t length);

/* Frees a request that the device has forgotten: what it wrote is not known. */
void request_forget(struct blk *blk, struct request *request);
