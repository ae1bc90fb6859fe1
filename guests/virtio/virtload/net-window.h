/* Which frames are on their way: a window over the sequence numbers. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Sequence numbers that are remembered. */
#define WINDOW 16384u
/* So many later frames may come back before one that did not is called lost. */
#define LATER 4096u

enum frame_state { FRAME_FLYING = 1, FRAME_LATE, FRAME_FORGIVEN, FRAME_BACK };

struct window {
	uint8_t state[WINDOW];
	uint64_t sent_at[WINDOW];
	/* The next to be sent; the first that is not back; the first that is not yet called late. */
	uint64_t next, oldest, checked;
	/* Frames that fly; that are late; that came back after `oldest`. */
	uint32_t flying, late, later;
};

/* Takes the next sequence number, at that time. */
uint64_t window_send(struct window *window, uint64_t now);

/* A frame came back: NULL, or what is wrong with it. */
const char *window_return(struct window *window, uint64_t sequence);

/* Frames that were sent before that time and are not back count as late, no longer as flying. */
void window_expire(struct window *window, uint64_t before);

/* The device was reset: frames on their way may come back or not. */
void window_forgive(struct window *window);

/* Whether `oldest` is lost for good. */
bool window_has_lost(const struct window *window);
