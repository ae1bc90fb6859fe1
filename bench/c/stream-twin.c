/*
 * The C twin of streams: moves pages of RAM with the records of a migration stream and zlib's checksums over both.
 *
 *   stream-twin file PATH MIB    writes RAM to a file, then reads it into other RAM; prints nanoseconds of each
 *   stream-twin unix - MIB       from one thread to another through a UNIX socket; prints nanoseconds
 *
 * Every second run of 64 KiB is zero. The source has all its pages before, the target none.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define PAGE 4096UL
#define BATCH 512
#define BUFFER (1UL << 20)
#define RUN (1UL << 20)
enum { ZERO = 2, DATA = 8, END = 16, CONTINUE = 32 };

static size_t size;

static void die(const char *what) {
	perror(what);
	exit(1);
}

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000UL + t.tv_nsec;
}

static uint8_t *new_ram(int flags) {
	int fd = memfd_create("ram", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, size) < 0) die("memfd");
	uint8_t *ram = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);
	if (ram == MAP_FAILED) die("mmap");
	close(fd);
	return ram;
}

static void write_all(int fd, struct iovec *iov, int count) {
	while (count > 0) {
		ssize_t n = writev(fd, iov, count);
		if (n < 0) die("writev");
		while (count > 0 && (size_t)n >= iov->iov_len) {
			n -= iov->iov_len;
			iov++;
			count--;
		}
		if (count > 0) {
			iov->iov_base = (char *)iov->iov_base + n;
			iov->iov_len -= n;
		}
	}
}

static uint32_t sums[2][2];

static void send_ram(int fd, const uint8_t *ram) {
	static uint8_t headers[BATCH * 2 * 16];
	static struct iovec iov[BATCH * 2];
	uint32_t meta = 0, data = 0;
	size_t used = 0, records = 0, run = 0, run_end = 0;
	int count = 0;
	for (size_t at = 0; at <= size; at += PAGE) {
		int last = at == size;
		int zero = !last && *(const uint64_t *)(ram + at) == 0 && memcmp(ram + at, ram + at + 8, PAGE - 8) == 0;
		uint64_t word = htobe64(last ? END : at | (zero ? ZERO : DATA) | CONTINUE);
		uint8_t *header = headers + used;
		memcpy(header, &word, 8);
		used += 8;
		if (zero) headers[used++] = 0;
		size_t length = headers + used - header;
		if (count > 0 && (uint8_t *)iov[count - 1].iov_base + iov[count - 1].iov_len == header) {
			iov[count - 1].iov_len += length;
		} else {
			iov[count++] = (struct iovec){header, length};
		}
		if (!last && !zero) {
			iov[count++] = (struct iovec){(void *)(ram + at), PAGE};
			if (at != run_end) {
				data = crc32(data, ram + run, run_end - run);
				run = at;
			}
			run_end = at + PAGE;
		}
		if (++records == BATCH || last) {
			data = crc32(data, ram + run, run_end - run);
			run = run_end = 0;
			meta = crc32(meta, headers, used);
			write_all(fd, iov, count);
			used = records = count = 0;
		}
	}
	sums[0][0] = meta;
	sums[0][1] = data;
}

static void receive_ram(int fd, uint8_t *ram) {
	static uint8_t buffer[BUFFER + 2 * PAGE], headers[BUFFER];
	uint32_t meta = 0, data = 0;
	size_t from = 0, to = 0, used = 0, run = 0, run_end = 0;
	for (;;) {
		size_t need = 8;
		if (to - from >= 8) {
			uint64_t word;
			memcpy(&word, buffer + from, 8);
			word = be64toh(word);
			size_t at = word & ~(PAGE - 1);
			need = word & DATA ? 8 + PAGE : word & ZERO ? 9 : 8;
			if (to - from >= need) {
				size_t length = word & ZERO ? 9 : 8;
				if (used + length > sizeof headers) {
					meta = crc32(meta, headers, used);
					used = 0;
				}
				memcpy(headers + used, buffer + from, length);
				used += length;
				if (word & DATA) {
					if (at != run_end || at - run >= RUN) {
						data = crc32(data, ram + run, run_end - run);
						run = at;
					}
					memcpy(ram + at, buffer + from + 8, PAGE);
					run_end = at + PAGE;
				}
				from += need;
				if (word & END) break;
				continue;
			}
		}
		memmove(buffer, buffer + from, to - from);
		to -= from;
		from = 0;
		ssize_t n = read(fd, buffer + to, BUFFER);
		if (n <= 0 || to + n > sizeof buffer) die("read");
		to += n;
	}
	data = crc32(data, ram + run, run_end - run);
	meta = crc32(meta, headers, used);
	if (meta != sums[0][0] || data != sums[0][1]) {
		fprintf(stderr, "the checksums differ\n");
		exit(1);
	}
}

struct sender {
	int fd;
	const uint8_t *ram;
};

static void *sender(void *arg) {
	struct sender *s = arg;
	send_ram(s->fd, s->ram);
	return 0;
}

int main(int argc, char **argv) {
	if (argc != 4) return 2;
	size = strtoul(argv[3], 0, 10) << 20;
	uint8_t *source = new_ram(MAP_POPULATE), *target = new_ram(0);
	for (size_t at = 0; at < size; at += 2 * 65536) {
		for (size_t i = 0; i < 65536 / 4; i++) ((uint32_t *)(source + at))[i] = (at / 4 + i) * 2654435761u | 1;
	}
	if (strcmp(argv[1], "file") == 0) {
		int fd = open(argv[2], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fd < 0) die(argv[2]);
		uint64_t began = now();
		send_ram(fd, source);
		uint64_t written = now();
		if (lseek(fd, 0, SEEK_SET) < 0) die("lseek");
		uint64_t read_began = now();
		receive_ram(fd, target);
		printf("%lu\n%lu\n", written - began, now() - read_began);
		unlink(argv[2]);
	} else {
		int fds[2];
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0) die("socketpair");
		struct sender s = {fds[0], source};
		pthread_t thread;
		uint64_t began = now();
		pthread_create(&thread, 0, sender, &s);
		receive_ram(fds[1], target);
		printf("%lu\n", now() - began);
		pthread_join(thread, 0);
	}
	return 0;
}
