/* The frames of netbench. */
#pragma once
#include "net.h"
#include <stdbool.h>

enum { KIND_DATA = 1, KIND_STOP = 2 };

/* What stands in a frame behind the Ethernet header or, in a TSO frame, behind that of TCP. Little-endian. */
struct bench {
	uint32_t magic, kind;
	uint64_t sequence;
} __attribute__((packed));

/* Bytes of the Ethernet, IPv4 and TCP headers. */
#define TCP_HEADERS 54u
#define TCP_SEGMENT 1460u

/* Fills a frame's headers; it goes from `mac` to all. */
void frame_fill(uint8_t *frame, uint32_t bytes, const uint8_t *mac, bool gso);

/* Fills the header that the device reads. */
void frame_offload(struct net_header *header, bool gso);

/* Sets kind and number of a frame that is filled. */
void frame_number(uint8_t *frame, bool gso, uint32_t kind, uint64_t sequence);

/* What stands in a frame; NULL if it is none of netbench. `gso` takes TCP segments too: of these only the first of
 * several has a number, for the others it is NULL and `*segment` true. */
const struct bench *frame_read(const uint8_t *frame, uint32_t bytes, bool gso, bool *segment);

/* Turns a frame around: it goes from `mac` to where it came from. */
void frame_turn(uint8_t *frame, const uint8_t *mac);
