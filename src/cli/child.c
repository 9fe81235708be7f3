// SPDX-License-Identifier: GPL-2.0
/* Child processes: their input is a file in memory, their output is read to its end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

#define RG_CHILD_PATH 4096

/**
 * rg_child_init - look for tools where the administrator's are, too
 *
 * modinfo is one of those, and others' PATH does not lead there.
 *
 * Context: User space, before any child.
 */
void rg_child_init(void)
{
	const char *path = getenv("PATH");
	char text[RG_CHILD_PATH];

	snprintf(text, sizeof(text), "%s:/usr/sbin:/sbin", path ? path : "/usr/bin:/bin");
	setenv("PATH", text, 1);
}

/* Nothing of the caller's settings reaches a tool but where its programs are. */
static pid_t rg_child_spawn(const char *const *argv, int in, int out)
{
	const char *path = getenv("PATH");
	char path_text[RG_CHILD_PATH];
	char *env[3] = { path_text, "LC_ALL=C", NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t defaults;
	pid_t pid;
	int error;

	snprintf(path_text, sizeof(path_text), "PATH=%s", path);
	if (posix_spawnattr_init(&attr))
		return RG_CHILD_FAILED;
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	if (posix_spawn_file_actions_init(&actions)) {
		posix_spawnattr_destroy(&attr);
		return RG_CHILD_FAILED;
	}
	posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	error = posix_spawnp(&pid, argv[0], &actions, &attr, (char *const *)argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	if (error)
		return error == ENOENT || error == EACCES ? RG_CHILD_MISSING : RG_CHILD_FAILED;
	return pid;
}

/* The whole input is there before the child starts, so neither can wait for the other. */
static int rg_child_input(const void *input, size_t size)
{
	const char *at = input;
	int fd = memfd_create("resetgate", MFD_CLOEXEC);
	ssize_t done;

	while (fd >= 0 && size) {
		done = write(fd, at, size);
		if (done <= 0) {
			close(fd);
			return -1;
		}
		at += done;
		size -= done;
	}
	if (fd >= 0)
		lseek(fd, 0, SEEK_SET);
	return fd;
}

static int rg_child_read(int fd, size_t most, struct rg_output *output)
{
	size_t room = 1 << 20;
	ssize_t got = 1;
	char *more;

	output->data = malloc(room);
	while (output->data && got) {
		if (output->size + 1 == room) {
			more = room > most ? NULL : realloc(output->data, room * 2);
			if (!more)
				return -1;
			output->data = more;
			room *= 2;
		}
		got = read(fd, output->data + output->size, room - 1 - output->size);
		if (got < 0 && errno != EINTR)
			return -1;
		output->size += got > 0 ? got : 0;
	}
	if (!output->data)
		return -1;
	output->data[output->size] = '\0';
	return 0;
}

static int rg_child_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return RG_CHILD_FAILED;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/**
 * rg_child_run - run a tool and take what it prints
 * @argv: its words, NULL-terminated; it is looked for in PATH
 * @input: what it gets to read
 * @input_size: how much
 * @most: it is ended once it has printed twice as much
 * @output: receives what it printed; to be freed, after an error, too
 *
 * Context: User space.
 * Return: its exit code, RG_CHILD_MISSING or RG_CHILD_FAILED.
 */
int rg_child_run(const char *const *argv, const void *input, size_t input_size, size_t most,
		 struct rg_output *output)
{
	int in, pipes[2], failed, rc;
	pid_t pid;

	*output = (struct rg_output){ };
	in = rg_child_input(input, input_size);
	if (in < 0)
		return RG_CHILD_FAILED;
	if (pipe2(pipes, O_CLOEXEC)) {
		close(in);
		return RG_CHILD_FAILED;
	}
	pid = rg_child_spawn(argv, in, pipes[1]);
	close(in);
	close(pipes[1]);
	if (pid < 0) {
		close(pipes[0]);
		return pid;
	}
	failed = rg_child_read(pipes[0], most, output);
	close(pipes[0]);
	if (failed)
		kill(pid, SIGKILL);
	rc = rg_child_wait(pid);
	return failed ? RG_CHILD_FAILED : rc;
}
