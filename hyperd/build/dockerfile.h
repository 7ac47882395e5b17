#pragma once
/*
 * Dockerfiles, read: lines with their continuations become instructions with flags and arguments.
 * Nothing is looked up, expanded or run here. The text comes from strangers: its size and the
 * number of instructions are limited, and every error names the line. Any thread.
 *
 * Source: the Dockerfile reference, as the classic builder of Docker 20.10 understands it. What
 * came later with BuildKit (here-documents, RUN --mount, COPY --link) is refused by name.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define DOCKERFILE_MAX_BYTES        (1u << 20)
#define DOCKERFILE_MAX_INSTRUCTIONS 4096

enum instruction_kind {
	INSTRUCTION_ADD,
	INSTRUCTION_ARG,
	INSTRUCTION_CMD,
	INSTRUCTION_COPY,
	INSTRUCTION_ENTRYPOINT,
	INSTRUCTION_ENV,
	INSTRUCTION_EXPOSE,
	INSTRUCTION_FROM,
	INSTRUCTION_HEALTHCHECK,
	INSTRUCTION_LABEL,
	INSTRUCTION_MAINTAINER,
	INSTRUCTION_ONBUILD,
	INSTRUCTION_RUN,
	INSTRUCTION_SHELL,
	INSTRUCTION_STOPSIGNAL,
	INSTRUCTION_USER,
	INSTRUCTION_VOLUME,
	INSTRUCTION_WORKDIR,
	INSTRUCTION_UNKNOWN, /* never in what was checked */
};

struct instruction {
	enum instruction_kind kind;
	char *text;   /* owned: the whole of it on one line, as it is shown */
	char **flags; /* owned strv: "--from=base" */
	/* Owned strv. ENV and LABEL: name, value, name, value…; HEALTHCHECK: "NONE", or "CMD" and
	 * the command; ONBUILD: the instruction as one text. */
	char **args;
	bool json; /* the arguments were a JSON list */
	unsigned line;
	bool literal; /* its arguments are not expanded: it was made, not read */
};

struct dockerfile {
	struct instruction *instructions; /* owned */
	size_t count;
	char escape;     /* '\\' or '`' */
	char **warnings; /* owned strv */
};

#define autodockerfile __attribute__((cleanup(dockerfile_done)))

/* TEXT need not be NUL-terminated; NAME is for messages. ERROR_INVALID with Docker's texts. */
int dockerfile_parse(const char *text, size_t len, const char *name, struct dockerfile *ret,
		     struct error *err);
void dockerfile_done(struct dockerfile *file);

/* One instruction without continuations: what ONBUILD keeps. The first only reads it, so that its
 * kind may be unknown; the second checks it, too. */
int instruction_read(const char *line, char escape, struct instruction *ret, struct error *err);
int instruction_parse(const char *line, char escape, struct instruction *ret, struct error *err);
void instruction_done(struct instruction *instruction);
/* "COPY" */
const char *instruction_name(enum instruction_kind kind);
/* The value of the flag NAME ("from"), "" when it has none; NULL when it is not there. Borrowed. */
const char *instruction_flag(const struct instruction *instruction, const char *name);
