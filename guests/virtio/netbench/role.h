/* What the roles of netbench have in common. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct parameters {
	bool gso;
	/* Bytes of a frame, with its Ethernet header. */
	uint32_t size;
	/* Frames to count; 0: until a stop frame. */
	uint64_t packets;
	/* Time stamps without a frame after which a run has failed. */
	uint64_t idle;
};

/* What was counted, and the time stamps of the first and the last. */
struct result {
	uint64_t packets, bytes, first, last;
	/* Frames that did not come in time; gaps in the numbers; numbers that were due earlier. */
	uint64_t errors, lost, disorder;
	/* Of a round trip, in time stamps. */
	uint64_t shortest, longest;
};

/* Sends the frames, then stop frames. */
void role_send(const struct parameters *parameters, struct result *result);

/* Sends each frame when the one before has come back, then stop frames. */
void role_pingpong(const struct parameters *parameters, struct result *result);

/* Counts frames; with `echo` sends them back. */
void role_receive(const struct parameters *parameters, struct result *result, bool echo);
