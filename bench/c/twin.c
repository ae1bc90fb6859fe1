/*
 * The C twin: does with KVM what Baton does, by the same system calls, so that a ratio says what JavaScript costs.
 *
 *   twin exits ELF WORDS        runs the "exits" guest; prints a line "kind nanoseconds" per loop
 *   twin start ELF COUNT        makes a VM and runs it to its first serial byte, COUNT times; prints nanoseconds
 *   twin kick  ELF COUNT        stops a running vCPU and lets it go on, COUNT times; prints nanoseconds from kick to stop
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RAM_SIZE (64UL << 20)
#define START_INFO 0x6000
#define CMDLINE 0x20000

static void die(const char *what) {
	perror(what);
	exit(1);
}

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000UL + t.tv_nsec;
}

struct machine {
	int kvm, vm, vcpu, memfd;
	uint8_t *ram;
	struct kvm_run *run;
	int run_size;
};

static void *image;
static size_t image_size;

static void read_image(const char *path) {
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) die(path);
	image = malloc(1 << 20);
	ssize_t n = read(fd, image, 1 << 20);
	if (n <= 0) die("read");
	image_size = n;
	close(fd);
}

/* Loads the segments; returns the PVH entry out of the Xen note. */
static uint32_t load(struct machine *m, const char *words) {
	Elf64_Ehdr *e = image;
	uint32_t entry = 0;
	for (int i = 0; i < e->e_phnum; i++) {
		Elf64_Phdr *p = (void *)((char *)image + e->e_phoff + i * e->e_phentsize);
		if (p->p_type == PT_LOAD) memcpy(m->ram + p->p_paddr, (char *)image + p->p_offset, p->p_filesz);
		if (p->p_type == PT_NOTE) {
			Elf64_Nhdr *n = (void *)((char *)image + p->p_offset);
			char *desc = (char *)(n + 1) + ((n->n_namesz + 3) & ~3U);
			if (n->n_type == 18) entry = *(uint32_t *)desc;
		}
	}
	uint8_t *s = m->ram + START_INFO;
	memset(s, 0, 128);
	*(uint32_t *)s = 0x336ec578;
	*(uint32_t *)(s + 4) = 1;
	*(uint64_t *)(s + 24) = CMDLINE;
	*(uint64_t *)(s + 40) = START_INFO + 64;
	*(uint32_t *)(s + 48) = 1;
	*(uint64_t *)(s + 72) = RAM_SIZE;
	*(uint32_t *)(s + 80) = 1;
	strcpy((char *)m->ram + CMDLINE, words);
	return entry;
}

static void create(struct machine *m, const char *words) {
	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->kvm < 0) die("/dev/kvm");
	m->memfd = memfd_create("ram", MFD_CLOEXEC);
	if (ftruncate(m->memfd, RAM_SIZE)) die("ftruncate");
	m->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, m->memfd, 0);
	if (m->ram == MAP_FAILED) die("mmap");
	madvise(m->ram, RAM_SIZE, MADV_DONTFORK);
	madvise(m->ram, RAM_SIZE, MADV_DONTDUMP);
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	if (m->vm < 0) die("KVM_CREATE_VM");
	uint64_t identity = 0xfeffc000;
	ioctl(m->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	ioctl(m->vm, KVM_SET_TSS_ADDR, 0xfeffd000);
	if (ioctl(m->vm, KVM_CREATE_IRQCHIP, 0)) die("KVM_CREATE_IRQCHIP");
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	if (ioctl(m->vm, KVM_CREATE_PIT2, &pit)) die("KVM_CREATE_PIT2");
	m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	if (m->vcpu < 0) die("KVM_CREATE_VCPU");
	m->run_size = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	m->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	static struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 entries[256]; } cpuid;
	cpuid.head.nent = 256;
	if (ioctl(m->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid)) die("KVM_GET_SUPPORTED_CPUID");
	for (unsigned i = 0; i < cpuid.head.nent; i++)
		if (cpuid.entries[i].function == 1) cpuid.entries[i].ecx |= 1U << 31;
	if (ioctl(m->vcpu, KVM_SET_CPUID2, &cpuid)) die("KVM_SET_CPUID2");
	struct kvm_userspace_memory_region region = {.memory_size = RAM_SIZE, .userspace_addr = (uint64_t)m->ram};
	if (ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region)) die("KVM_SET_USER_MEMORY_REGION");
	uint32_t entry = load(m, words);
	struct kvm_sregs s;
	ioctl(m->vcpu, KVM_GET_SREGS, &s);
	struct kvm_segment flat = {.limit = 0xffffffff, .selector = 0x10, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
	s.ds = s.es = s.fs = s.gs = s.ss = flat;
	s.cs = flat;
	s.cs.selector = 8;
	s.cs.type = 11;
	s.tr = (struct kvm_segment){.limit = 0x67, .selector = 0x18, .type = 11, .present = 1};
	s.cr0 = 0x11;
	s.cr4 = s.efer = s.cr3 = 0;
	if (ioctl(m->vcpu, KVM_SET_SREGS, &s)) die("KVM_SET_SREGS");
	struct kvm_regs r = {.rip = entry, .rbx = START_INFO, .rflags = 2};
	if (ioctl(m->vcpu, KVM_SET_REGS, &r)) die("KVM_SET_REGS");
}

static void destroy(struct machine *m) {
	munmap(m->run, m->run_size);
	close(m->vcpu);
	close(m->vm);
	close(m->kvm);
	munmap(m->ram, RAM_SIZE);
	close(m->memfd);
}

static void exits(const char *words) {
	struct machine m;
	create(&m, words);
	uint64_t begin = 0;
	volatile uint32_t sink = 0;
	for (;;) {
		if (ioctl(m.vcpu, KVM_RUN, 0) < 0) {
			if (errno == EINTR || errno == EAGAIN) continue;
			die("KVM_RUN");
		}
		struct kvm_run *run = m.run;
		if (run->exit_reason == KVM_EXIT_IO) {
			uint8_t *data = (uint8_t *)run + run->io.data_offset;
			if (run->io.port == 0x4e4) {
				if (run->io.direction == KVM_EXIT_IO_OUT) sink = *data;
				else *data = sink;
			} else if (run->io.port == 0x4e0) {
				uint32_t mark = *(uint32_t *)data;
				if ((mark & 1) == 0) begin = now();
				else printf("%u %lu\n", mark >> 8, now() - begin);
			} else if (run->io.port == 0xf4) break;
		} else if (run->exit_reason == KVM_EXIT_MMIO) {
			if (run->mmio.is_write) sink = *(uint32_t *)run->mmio.data;
			else *(uint32_t *)run->mmio.data = sink;
		} else {
			fprintf(stderr, "exit %u\n", run->exit_reason);
			exit(1);
		}
	}
	destroy(&m);
}

static void start(int count) {
	for (int i = 0; i < count; i++) {
		uint64_t begin = now();
		struct machine m;
		create(&m, "");
		for (;;) {
			if (ioctl(m.vcpu, KVM_RUN, 0) < 0) die("KVM_RUN");
			if (m.run->exit_reason == KVM_EXIT_IO && m.run->io.port == 0x3f8) break;
		}
		printf("%lu\n", now() - begin);
		destroy(&m);
	}
}

static struct machine kicked;
static pid_t kicked_tid;
static int stopped_fd, resume_fd;

static void nothing(int signal) {
	(void)signal;
}

static void *run_kicked(void *unused) {
	kicked_tid = syscall(SYS_gettid);
	uint64_t one = 1;
	for (;;) {
		if (ioctl(kicked.vcpu, KVM_RUN, 0) < 0 && errno == EINTR) {
			kicked.run->immediate_exit = 0;
			if (write(stopped_fd, &one, 8) != 8 || read(resume_fd, &one, 8) != 8) return unused;
		}
	}
}

static void kick(int count) {
	create(&kicked, "primes=100000000");
	stopped_fd = eventfd(0, 0);
	resume_fd = eventfd(0, 0);
	struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
	sigaction(SIGURG, &action, NULL);
	pthread_t thread;
	pthread_create(&thread, NULL, run_kicked, NULL);
	uint64_t value = 1;
	for (int i = 0; i < count; i++) {
		usleep(2000);
		uint64_t begin = now();
		kicked.run->immediate_exit = 1;
		syscall(SYS_tgkill, getpid(), kicked_tid, SIGURG);
		if (read(stopped_fd, &value, 8) != 8) die("read");
		printf("%lu\n", now() - begin);
		value = 1;
		if (write(resume_fd, &value, 8) != 8) die("write");
	}
}

int main(int argc, char **argv) {
	if (argc != 4) return 64;
	read_image(argv[2]);
	if (strcmp(argv[1], "exits") == 0) exits(argv[3]);
	else if (strcmp(argv[1], "start") == 0) start(atoi(argv[3]));
	else if (strcmp(argv[1], "kick") == 0) kick(atoi(argv[3]));
	else return 64;
	return 0;
}
