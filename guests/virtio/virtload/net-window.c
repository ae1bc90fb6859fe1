#include "net-window.h"
#include <stddef.h>

uint64_t window_send(struct window *window, uint64_t now) {
	uint64_t sequence = window->next++;
	window->state[sequence % WINDOW] = FRAME_FLYING;
	window->sent_at[sequence % WINDOW] = now;
	window->flying++;
	return sequence;
}

static void advance(struct window *window) {
	while (window->oldest < window->next) {
		uint8_t state = window->state[window->oldest % WINDOW];
		if (state != FRAME_BACK && state != FRAME_FORGIVEN) break;
		if (state == FRAME_BACK && window->later != 0) window->later--;
		window->oldest++;
	}
}

const char *window_return(struct window *window, uint64_t sequence) {
	if (sequence >= window->next) return "was never sent";
	if (window->next - sequence > WINDOW) return "is too old";
	uint8_t *state = &window->state[sequence % WINDOW];
	if (*state == FRAME_BACK) return "came twice";
	if (*state == FRAME_FLYING) window->flying--;
	if (*state == FRAME_LATE) window->late--;
	bool counts = sequence >= window->oldest;
	*state = FRAME_BACK;
	if (counts) window->later++;
	advance(window);
	return NULL;
}

void window_expire(struct window *window, uint64_t before) {
	if (window->checked < window->oldest) window->checked = window->oldest;
	for (; window->checked < window->next; window->checked++) {
		uint8_t *state = &window->state[window->checked % WINDOW];
		if (*state != FRAME_FLYING) continue;
		if (window->sent_at[window->checked % WINDOW] >= before) break;
		*state = FRAME_LATE;
		window->flying--;
		window->late++;
	}
}

void window_forgive(struct window *window) {
	for (uint64_t sequence = window->oldest; sequence < window->next; sequence++) {
		uint8_t *state = &window->state[sequence % WINDOW];
		if (*state == FRAME_FLYING) *state = FRAME_FORGIVEN;
	}
	window->flying = 0;
	advance(window);
}

bool window_has_lost(const struct window *window) {
	return window->later > LATER || window->next - window->oldest >= WINDOW - 1;
}
