// SPDX-License-Identifier: GPL-2.0
/*
 * rgxvfio: a process that holds functions by VFIO's type 1, as a VMM does.
 * "start" leaves it behind; later calls tell it what to do. Each of its answers
 * comes from a thread of its own, for some calls last as long as a reset.
 * Exit status: 0 it was done, 1 it gave an error, 2 the call was wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "rgx.h"

#define WORDS	6
#define LINE	200
#define HELD	8
/* Clear of where Arm systems keep addresses for MSIs: 0x8000000, 1 MiB. */
#define STORM_IOVA 0x9000000UL
#define PAGE	4096UL

/* One command on its way; as rglab answers: "? TEXT" for a wrong call, or "RET TEXT". */
struct req {
	int argc;
	char *argv[WORDS];
	char out[LINE];
	bool usage;
};

struct group {
	int id, fd;
	bool joined;
};

struct device {
	char bdf[16];
	struct group *group;
	int fd;
};

struct mapping {
	unsigned long iova, size;
	void *at;
	struct mapping *next;
};

static int container = -1;
/* For the tables; not held in a call that may last. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct group groups[HELD];
static struct device devices[HELD];
static struct mapping *mappings;

static struct {
	pthread_t thread;
	bool running, stop;
	unsigned long loops, errors;
	int last;
} storm;

static long wrong(struct req *rq, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(rq->out, sizeof(rq->out), fmt, ap);
	va_end(ap);
	rq->usage = true;
	return -EINVAL;
}

static long result(long ret)
{
	return ret < 0 ? -errno : ret;
}

static int parse(struct req *rq, int arg, unsigned long *val)
{
	char *end;

	errno = 0;
	*val = strtoul(rq->argv[arg], &end, 0);
	if (!errno && *rq->argv[arg] && !*end)
		return 0;
	return wrong(rq, "not a number: %s", rq->argv[arg]);
}

/* The number of the IOMMU group of "0000:01:00.0", or -1. */
static int group_of(const char *bdf)
{
	char path[96], link[128];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return -1;
	link[n] = 0;
	return atoi(strrchr(link, '/') + 1);
}

static struct group *group_slot(int id)
{
	struct group *g, *free = NULL;

	for (g = groups; g < groups + HELD; g++) {
		if (g->id == id)
			return g;
		if (g->id < 0 && !free)
			free = g;
	}
	if (free)
		free->id = id;
	return free;
}

/* With the lock held: the function that word 1 names, put into the tables if need be. */
static struct device *device_slot(struct req *rq)
{
	struct device *d, *free = NULL;
	char bdf[sizeof(d->bdf)];
	int id;

	snprintf(bdf, sizeof(bdf), "%s%s", strlen(rq->argv[1]) < 12 ? "0000:" : "", rq->argv[1]);
	for (d = devices; d < devices + HELD; d++) {
		if (!strcmp(d->bdf, bdf))
			return d;
		if (!*d->bdf && !free)
			free = d;
	}
	id = group_of(bdf);
	if (id < 0) {
		wrong(rq, "no such PCI function, or one without an IOMMU group: %s", rq->argv[1]);
		return NULL;
	}
	if (!free) {
		wrong(rq, "more than %d functions", HELD);
		return NULL;
	}
	memcpy(free->bdf, bdf, sizeof(bdf));
	free->group = group_slot(id);
	return free;
}

static struct device *device(struct req *rq)
{
	struct device *d;

	pthread_mutex_lock(&lock);
	d = device_slot(rq);
	pthread_mutex_unlock(&lock);
	return d;
}

static void give_back(struct group *g)
{
	g->joined = false;
	close(g->fd);
	g->fd = -1;
}

static long join(struct group *g)
{
	char path[32];

	if (g->joined)
		return -EALREADY;
	snprintf(path, sizeof(path), "/dev/vfio/%d", g->id);
	if (g->fd < 0)
		g->fd = open(path, O_RDWR | O_CLOEXEC);
	if (g->fd < 0)
		return -errno;
	if (ioctl(g->fd, VFIO_GROUP_SET_CONTAINER, &container))
		return -errno;
	g->joined = true;
	return 0;
}

/* The first group that joins a container gives it an IOMMU, and is attached then. */
static long cmd_join(struct req *rq)
{
	struct device *d = device(rq);
	bool first = true;
	long ret;
	int i;

	if (!d)
		return -EINVAL;
	pthread_mutex_lock(&lock);
	for (i = 0; i < HELD; i++)
		first &= !groups[i].joined;
	ret = join(d->group);
	pthread_mutex_unlock(&lock);
	if (ret || !first)
		return ret;
	ret = result(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
	if (ret)
		give_back(d->group);
	return ret;
}

static long cmd_leave(struct req *rq)
{
	struct device *d = device(rq);
	long ret;

	if (!d)
		return -EINVAL;
	if (!d->group->joined)
		return -ENOENT;
	ret = result(ioctl(d->group->fd, VFIO_GROUP_UNSET_CONTAINER));
	if (!ret)
		give_back(d->group);
	return ret;
}

static long cmd_open(struct req *rq)
{
	struct device *d = device(rq);

	if (!d)
		return -EINVAL;
	if (d->fd >= 0)
		return -EALREADY;
	if (d->group->fd < 0)
		return -ENOENT;
	d->fd = ioctl(d->group->fd, VFIO_GROUP_GET_DEVICE_FD, d->bdf);
	return d->fd < 0 ? -errno : 0;
}

static long cmd_close(struct req *rq)
{
	struct device *d = device(rq);
	int fd;

	if (!d)
		return -EINVAL;
	if (d->fd < 0)
		return -ENOENT;
	fd = d->fd;
	d->fd = -1;
	return result(close(fd));
}

static long map(unsigned long iova, unsigned long size, void *at)
{
	struct vfio_iommu_type1_dma_map arg = {
		.argsz = sizeof(arg),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)at,
		.iova = iova,
		.size = size,
	};

	return result(ioctl(container, VFIO_IOMMU_MAP_DMA, &arg));
}

static long unmap(unsigned long iova, unsigned long size)
{
	struct vfio_iommu_type1_dma_unmap arg = {
		.argsz = sizeof(arg),
		.iova = iova,
		.size = size,
	};
	long ret = result(ioctl(container, VFIO_IOMMU_UNMAP_DMA, &arg));

	return ret ? ret : (long)arg.size;
}

static void *pages(unsigned long size, unsigned long pattern)
{
	unsigned long *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long i;

	for (i = 0; at != MAP_FAILED && i < size / sizeof(*at); i++)
		at[i] = pattern;
	return at;
}

static long cmd_map(struct req *rq)
{
	struct mapping *m;
	unsigned long pattern = 0;
	long ret;

	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	if (parse(rq, 1, &m->iova) || parse(rq, 2, &m->size) ||
	    (rq->argc > 3 && parse(rq, 3, &pattern))) {
		free(m);
		return -EINVAL;
	}
	m->at = pages(m->size, pattern);
	ret = m->at == MAP_FAILED ? -errno : map(m->iova, m->size, m->at);
	if (ret) {
		if (m->at != MAP_FAILED)
			munmap(m->at, m->size);
		free(m);
		return ret;
	}
	pthread_mutex_lock(&lock);
	m->next = mappings;
	mappings = m;
	pthread_mutex_unlock(&lock);
	return 0;
}

/* Gives the pages back of a mapping that is unmapped whole. */
static void forget(unsigned long iova, unsigned long size)
{
	struct mapping **p, *m;

	pthread_mutex_lock(&lock);
	for (p = &mappings; (m = *p);) {
		if (m->iova < iova || m->iova + m->size > iova + size) {
			p = &m->next;
			continue;
		}
		*p = m->next;
		munmap(m->at, m->size);
		free(m);
	}
	pthread_mutex_unlock(&lock);
}

static long cmd_unmap(struct req *rq)
{
	unsigned long iova, size;
	long ret;

	if (parse(rq, 1, &iova) || parse(rq, 2, &size))
		return -EINVAL;
	ret = unmap(iova, size);
	if (ret > 0)
		forget(iova, size);
	return ret;
}

static void pause_us(long us)
{
	struct timespec ts = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

	nanosleep(&ts, NULL);
}

static void *storm_thread(void *page)
{
	long ret;

	while (!__atomic_load_n(&storm.stop, __ATOMIC_RELAXED)) {
		ret = map(STORM_IOVA, PAGE, page);
		if (!ret)
			ret = unmap(STORM_IOVA, PAGE);
		if (ret != (long)PAGE) {
			storm.last = ret;
			storm.errors++;
		}
		__atomic_add_fetch(&storm.loops, 1, __ATOMIC_RELAXED);
		pause_us(100);
	}
	munmap(page, PAGE);
	return NULL;
}

static long storm_start(void)
{
	void *page;
	int ret;

	if (storm.running)
		return -EALREADY;
	page = pages(PAGE, 0);
	if (page == MAP_FAILED)
		return -errno;
	memset(&storm, 0, sizeof(storm));
	ret = pthread_create(&storm.thread, NULL, storm_thread, page);
	storm.running = !ret;
	return -ret;
}

static long storm_stop(struct req *rq)
{
	if (!storm.running)
		return -ENOENT;
	__atomic_store_n(&storm.stop, true, __ATOMIC_RELAXED);
	pthread_join(storm.thread, NULL);
	storm.running = false;
	snprintf(rq->out, sizeof(rq->out), "loops=%lu errors=%lu last=%d", storm.loops,
		 storm.errors, storm.last);
	return 0;
}

static long storm_wait(struct req *rq)
{
	unsigned long more, from = __atomic_load_n(&storm.loops, __ATOMIC_RELAXED);
	int i;

	if (parse(rq, 2, &more))
		return -EINVAL;
	if (!storm.running)
		return -ENOENT;
	for (i = 0; i < 5000; i++) {
		if (__atomic_load_n(&storm.loops, __ATOMIC_RELAXED) - from >= more)
			return 0;
		pause_us(2000);
	}
	return -ETIMEDOUT;
}

static long cmd_storm(struct req *rq)
{
	const char *what = rq->argv[1];

	if (!strcmp(what, "start") && rq->argc == 2)
		return storm_start();
	if (!strcmp(what, "stop") && rq->argc == 2)
		return storm_stop(rq);
	if (!strcmp(what, "wait") && rq->argc == 3)
		return storm_wait(rq);
	return wrong(rq, "usage: storm start | stop | wait N");
}

static long cmd_reset(struct req *rq)
{
	struct device *d = device(rq);

	if (!d)
		return -EINVAL;
	return d->fd < 0 ? -ENOENT : result(ioctl(d->fd, VFIO_DEVICE_RESET));
}

/* The groups of all functions that the reset hits; those we lack the kernel will miss. */
static long hot_groups(struct device *d, struct vfio_pci_hot_reset *arg)
{
	struct {
		struct vfio_pci_hot_reset_info info;
		struct vfio_pci_dependent_device dev[HELD];
	} hit = { .info.argsz = sizeof(hit) };
	struct group *g;
	unsigned int i;

	if (ioctl(d->fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &hit))
		return -errno;
	for (g = groups; g < groups + HELD; g++) {
		for (i = 0; i < hit.info.count; i++) {
			if (g->fd < 0 || !g->joined || (int)hit.dev[i].group_id != g->id)
				continue;
			arg->group_fds[arg->count++] = g->fd;
			break;
		}
	}
	return 0;
}

static long cmd_hot(struct req *rq)
{
	struct device *d = device(rq);
	union {
		struct vfio_pci_hot_reset hot;
		char room[sizeof(struct vfio_pci_hot_reset) + HELD * sizeof(__s32)];
	} arg = { .hot.argsz = sizeof(arg) };
	long ret;

	if (!d)
		return -EINVAL;
	if (d->fd < 0)
		return -ENOENT;
	ret = hot_groups(d, &arg.hot);
	return ret ? ret : result(ioctl(d->fd, VFIO_DEVICE_PCI_HOT_RESET, &arg));
}

static long cmd_quit(struct req *rq)
{
	(void)rq;
	exit(0);
}

static const struct {
	const char *name;
	int min, max;		/* words after the name */
	long (*run)(struct req *rq);
	const char *usage;
} cmds[] = {
	{ "join", 1, 1, cmd_join, "BDF" },
	{ "leave", 1, 1, cmd_leave, "BDF" },
	{ "open", 1, 1, cmd_open, "BDF" },
	{ "close", 1, 1, cmd_close, "BDF" },
	{ "map", 2, 3, cmd_map, "IOVA SIZE [PATTERN]" },
	{ "unmap", 2, 2, cmd_unmap, "IOVA SIZE" },
	{ "storm", 1, 2, cmd_storm, "start | stop | wait N" },
	{ "reset", 1, 1, cmd_reset, "BDF" },
	{ "hot", 1, 1, cmd_hot, "BDF" },
	{ "quit", 0, 0, cmd_quit, "" },
};

#define NR_CMDS (sizeof(cmds) / sizeof(*cmds))

static long run(struct req *rq)
{
	size_t i;

	for (i = 0; i < NR_CMDS; i++) {
		if (strcmp(cmds[i].name, rq->argv[0]))
			continue;
		if (rq->argc - 1 < cmds[i].min || rq->argc - 1 > cmds[i].max)
			return wrong(rq, "usage: %s %s", cmds[i].name, cmds[i].usage);
		return cmds[i].run(rq);
	}
	return wrong(rq, "unknown command: %s", rq->argv[0]);
}

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct req rq = {};
	char line[LINE + 1], *word, *save = NULL;
	ssize_t n = read(fd, line, LINE);
	long ret;

	line[n > 0 ? n : 0] = 0;
	for (word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (rq.argc == WORDS)
			break;
		rq.argv[rq.argc++] = word;
	}
	if (word)
		ret = wrong(&rq, "too many words");
	else
		ret = rq.argc ? run(&rq) : wrong(&rq, "empty command");
	if (rq.usage)
		dprintf(fd, "? %s", rq.out);
	else
		dprintf(fd, "%ld %s", ret, rq.out);
	close(fd);
	return NULL;
}

static socklen_t address(const char *name, struct sockaddr_un *sa)
{
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	/* A zero byte first: no file, and the name is free again when the process is gone. */
	snprintf(sa->sun_path + 1, sizeof(sa->sun_path) - 1, "rgxvfio-%s", name);
	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(sa->sun_path + 1);
}

static void hold(int listener)
{
	pthread_t thread;
	int fd, null = open("/dev/null", O_RDWR);

	for (fd = 0; fd < 3; fd++)
		dup2(null, fd);
	setsid();
	signal(SIGPIPE, SIG_IGN);
	while ((fd = accept(listener, NULL, NULL)) >= 0)
		if (!pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd))
			pthread_detach(thread);
	exit(1);
}

/* Leaves the holder behind and prints its process ID. */
static int start(const char *name)
{
	struct sockaddr_un sa;
	socklen_t len = address(name, &sa);
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), i;
	pid_t pid;

	if (listener < 0 || bind(listener, (struct sockaddr *)&sa, len) || listen(listener, 8))
		return answer(-errno, name);
	container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (container < 0)
		return answer(-errno, "/dev/vfio/vfio");
	for (i = 0; i < HELD; i++)
		groups[i].id = groups[i].fd = devices[i].fd = -1;
	pid = fork();
	if (pid < 0)
		return answer(-errno, "fork");
	if (!pid)
		hold(listener);
	return answer(pid, "");
}

static int tell(const char *name, const char *line)
{
	struct sockaddr_un sa;
	socklen_t len = address(name, &sa);
	char buf[LINE + 32], *text;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	ssize_t n;
	long ret;

	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, len))
		return answer(-errno, name);
	n = send(fd, line, strlen(line), MSG_NOSIGNAL);
	if (n >= 0)
		n = recv(fd, buf, sizeof(buf) - 1, 0);
	close(fd);
	if (n <= 0 && !strcmp(line, "quit"))
		return answer(0, "");
	if (n <= 0)
		return answer(-EPIPE, "it is gone");
	buf[n] = 0;
	if (buf[0] == '?') {
		fprintf(stderr, "rgxvfio:%s\n", buf + 1);
		return 2;
	}
	ret = strtol(buf, &text, 10);
	return answer(ret, *text == ' ' ? text + 1 : text);
}

static int command(const char *name, int argc, char **argv)
{
	char line[LINE] = "";
	int i;

	if (argc == 1 && !strcmp(argv[0], "start"))
		return start(name);
	for (i = 0; i < argc; i++) {
		if (strlen(line) + strlen(argv[i]) + 2 > sizeof(line)) {
			fprintf(stderr, "rgxvfio: line too long\n");
			return 2;
		}
		strcat(strcat(line, i ? " " : ""), argv[i]);
	}
	return tell(name, line);
}

/* Commands to one holder, with a comma between them; the first failure ends it. */
int main(int argc, char **argv)
{
	int first = 2, i, ret = 0;

	if (argc < 3) {
		fprintf(stderr, "usage: rgxvfio NAME COMMAND [ARGUMENT]... [, COMMAND ...]...\n");
		return 2;
	}
	for (i = first; i <= argc && !ret; i++) {
		if (i < argc && strcmp(argv[i], ","))
			continue;
		if (i > first)
			ret = command(argv[1], i - first, argv + first);
		first = i + 1;
	}
	return ret;
}
