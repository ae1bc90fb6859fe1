/*
 * The other end of a guest's network: a tap on the same bridge, with frames as the guest "netbench" knows them.
 *
 *   tap-peer NAME send SIZE MAC   sends frames of SIZE bytes to MAC until it is killed; over 1514 bytes as TSO
 *   tap-peer NAME echo            sends back what comes in, to where it came from
 *
 * Prints "ready", and begins with a byte on standard input. Frames that the network has no room for are lost.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ETHERNET 14
#define FRAME_MOST (64 << 10)
#define PLAIN_MOST 1514
#define SEGMENT 1460
#define ETHERTYPE_LOCAL 0x88b5
#define MAGIC 0x626e7462u
#define ADDRESS_FROM 0xc0000201u
#define ADDRESS_TO 0xc0000202u

struct numbered {
	uint32_t magic, kind;
	uint64_t sequence;
} __attribute__((packed));

static struct {
	struct virtio_net_hdr header;
	uint8_t frame[FRAME_MOST];
} __attribute__((packed)) packet;

static const uint8_t own_mac[6] = {0x02, 0xba, 0x70, 0x6e, 0x62, 0x02};

static void die(const char *what) {
	perror(what);
	exit(1);
}

static int open_tap(const char *name) {
	int fd = open("/dev/net/tun", O_RDWR);
	if (fd < 0) die("/dev/net/tun");
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &request) != 0) die(name);
	return fd;
}

static uint16_t folded(uint32_t sum) {
	while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* A TCP segment over IPv4 to cut: the checksum of its pseudo header stands in it, the rest is the receiver's. */
static void make_segment(size_t size) {
	size_t bytes = size - ETHERNET;
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tot_len = htons(bytes),
		.ttl = 64,
		.protocol = IPPROTO_TCP,
		.saddr = htonl(ADDRESS_FROM),
		.daddr = htonl(ADDRESS_TO),
	};
	uint16_t words[sizeof ip / 2];
	memcpy(words, &ip, sizeof ip);
	uint32_t sum = 0;
	for (size_t i = 0; i < sizeof ip / 2; i++) sum += words[i];
	ip.check = ~folded(sum);
	uint32_t pseudo = (ADDRESS_FROM >> 16) + (ADDRESS_FROM & 0xffff) + (ADDRESS_TO >> 16) + (ADDRESS_TO & 0xffff);
	struct tcphdr tcp = {
		.source = htons(ETHERTYPE_LOCAL),
		.dest = htons(ETHERTYPE_LOCAL),
		.doff = 5,
		.ack = 1,
		.window = 0xffff,
		.check = htons(folded(pseudo + IPPROTO_TCP + bytes - sizeof ip)),
	};
	memcpy(packet.frame + ETHERNET, &ip, sizeof ip);
	memcpy(packet.frame + ETHERNET + sizeof ip, &tcp, sizeof tcp);
	packet.header = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = ETHERNET + sizeof ip + sizeof tcp,
		.gso_size = SEGMENT,
		.csum_start = ETHERNET + sizeof ip,
		.csum_offset = offsetof(struct tcphdr, check),
	};
}

static void send_all(int fd, size_t size, const char *mac) {
	uint8_t *to = packet.frame;
	if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", to, to + 1, to + 2, to + 3, to + 4, to + 5) != 6) die(mac);
	memcpy(to + 6, own_mac, 6);
	uint16_t type = htons(size > PLAIN_MOST ? 0x0800 : ETHERTYPE_LOCAL);
	memcpy(to + 12, &type, 2);
	size_t head = ETHERNET;
	if (size > PLAIN_MOST) {
		make_segment(size);
		head += sizeof(struct iphdr) + sizeof(struct tcphdr);
	}
	for (uint64_t sequence = 0;; sequence++) {
		struct numbered numbered = {htole32(MAGIC), htole32(1), htole64(sequence)};
		memcpy(packet.frame + head, &numbered, sizeof numbered);
		if (write(fd, &packet, sizeof packet.header + size) < 0 && errno != ENOBUFS) die("write");
	}
}

static void echo_all(int fd) {
	for (;;) {
		ssize_t bytes = read(fd, &packet, sizeof packet);
		if (bytes < 0) die("read");
		memcpy(packet.frame, packet.frame + 6, 6);
		memcpy(packet.frame + 6, own_mac, 6);
		uint16_t type;
		memcpy(&type, packet.frame + 12, 2);
		if (type == htons(ETHERTYPE_LOCAL) && write(fd, &packet, bytes) < 0 && errno != ENOBUFS) die("write");
	}
}

int main(int count, char **words) {
	if (count < 3) return 2;
	int fd = open_tap(words[1]);
	char byte;
	puts("ready");
	fflush(stdout);
	if (read(0, &byte, 1) != 1) return 1;
	if (strcmp(words[2], "echo") == 0) echo_all(fd);
	size_t size = count == 5 ? strtoul(words[3], NULL, 0) : 0;
	if (size < 64 || size > FRAME_MOST) return 2;
	send_all(fd, size, words[4]);
}
