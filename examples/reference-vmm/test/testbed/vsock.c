/*
 * One stream between AF_VSOCK and standard input and output, linked statically.
 *
 *   vsock connect CID PORT   tries until somebody listens there
 *   vsock listen PORT        for one connection, from anywhere
 *
 * CONNECTED on standard error tells that there is a stream. Each direction ends by itself. Ends with 0 when both ended in
 * order, else with 1 and the error on standard error.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

static void fail(const char *what) {
	fprintf(stderr, "vsock: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void copy(int from, int to, const char *what) {
	static char buffer[1 << 16];
	ssize_t length;
	while ((length = read(from, buffer, sizeof buffer)) > 0) {
		for (ssize_t done = 0, step; done < length; done += step) {
			step = write(to, buffer + done, length - done);
			if (step < 0) fail(what);
		}
	}
	if (length < 0) fail(what);
}

static int open_stream(struct sockaddr_vm address, int listens) {
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (fd < 0) fail("socket");
	if (!listens) {
		while (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
			if (errno != ECONNRESET && errno != ETIMEDOUT && errno != ENODEV) fail("connect");
			close(fd);
			usleep(50000);
			if ((fd = socket(AF_VSOCK, SOCK_STREAM, 0)) < 0) fail("socket");
		}
		return fd;
	}
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
	if (listen(fd, 1) < 0) fail("listen");
	int stream = accept(fd, NULL, NULL);
	if (stream < 0) fail("accept");
	close(fd);
	return stream;
}

int main(int count, char **words) {
	int listens = count == 3 && strcmp(words[1], "listen") == 0;
	if (!listens && (count != 4 || strcmp(words[1], "connect") != 0)) {
		fprintf(stderr, "usage: vsock connect CID PORT | vsock listen PORT\n");
		return 2;
	}
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_cid = listens ? VMADDR_CID_ANY : strtoul(words[2], NULL, 0),
		.svm_port = strtoul(words[count - 1], NULL, 0),
	};
	int stream = open_stream(address, listens);
	fprintf(stderr, "CONNECTED\n");
	pid_t child = fork();
	if (child < 0) fail("fork");
	if (child == 0) {
		copy(0, stream, "send");
		if (shutdown(stream, SHUT_WR) < 0) fail("shutdown");
		return 0;
	}
	copy(stream, 1, "receive");
	int status;
	waitpid(child, &status, 0);
	return status == 0 ? 0 : 1;
}
