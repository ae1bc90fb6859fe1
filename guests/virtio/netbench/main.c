/* netbench: sends, receives or turns around frames. See guests/README.md for its contract. */
#include "frame.h"
#include "interrupts.h"
#include "port.h"
#include "print.h"
#include "role.h"
#include "words.h"

static const char *const roles[] = {"tx", "rx", "echo", "pingpong"};
enum { ROLE_TX, ROLE_RX, ROLE_ECHO, ROLE_PINGPONG };

int main(void) {
	options_read(false);
	unsigned role = parameter_choice("role", roles, 4);
	bool active = role == ROLE_TX || role == ROLE_PINGPONG;
	bool gso = parameter_within("gso", 0, 0, role <= ROLE_RX);
	uint32_t most = gso ? FRAME_GSO_MOST : FRAME_MOST;
	struct parameters parameters = {
		.gso = gso,
		.size = parameter_within("size", gso ? most : FRAME_LEAST, gso ? 2 * FRAME_LEAST : FRAME_LEAST, most),
		.packets = parameter("packets", active ? 10000 : 0),
		.idle = parameter("idle", 10000000000ul),
	};
	unsigned depth = parameter_within("depth", gso ? 16 : 64, 1, SENDS);
	port_start(gso, role == ROLE_PINGPONG ? 1 : depth);
	if (options.interrupts) interrupts_timer(10);
	print("ready\n");

	struct result result = {0};
	if (role == ROLE_TX) role_send(&parameters, &result);
	else if (role == ROLE_PINGPONG) role_pingpong(&parameters, &result);
	else role_receive(&parameters, &result, role == ROLE_ECHO);

	print("begin %lu\nend %lu %lu\n", result.first, result.last, result.packets);
	print("netbench: role=%s size=%u packets=%lu", roles[role], parameters.size, result.packets);
	print(" bytes=%lu tsc=%lu errors=%lu", result.bytes, result.last - result.first, result.errors);
	print(" lost=%lu disorder=%lu", result.lost, result.disorder);
	print(" shortest=%lu longest=%lu", result.shortest, result.longest);
	print(" notifications=%lu interrupts=%lu\n", port.send.doorbells + port.receive.doorbells, interrupts_taken);
	return result.errors == 0 ? EXIT_OK : EXIT_BAD;
}
