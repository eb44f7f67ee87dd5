#include "remote/session.h"

#include <errno.h>
#include <string.h>

void remote_session_init(struct remote_session *session, const struct remote_policy *policy, void *data,
			 uint64_t now_ms)
{
	memset(session, 0, sizeof(*session));
	session->policy = policy;
	session->data = data;
	session->deadline_ms = now_ms + REMOTE_PROOF_MS;
}

static void end_lease(struct remote_session *session)
{
	if (!remote_session_leased(session))
		return;
	session->state = REMOTE_STATE_READY;
	session->policy->ops->close(session->data);
}

void remote_session_end(struct remote_session *session, const char *reason)
{
	if (session->state == REMOTE_STATE_OVER)
		return;
	end_lease(session); /* S1 */
	session->state = REMOTE_STATE_OVER;
	session->reason = reason;
	sodium_memzero(&session->seal, sizeof(session->seal));
}

static void send_plain(struct remote_session *session, const void *bytes, size_t length)
{
	if (session->policy->ops->send(session->data, bytes, length) != 0)
		remote_session_end(session, "it does not take what it is sent");
}

static void send_sealed(struct remote_session *session, const void *message, size_t size)
{
	send_plain(session, session->output, remote_seal(&session->seal, message, size, session->output));
}

static void send_done(struct remote_session *session, uint64_t lease, int error)
{
	const struct remote_header done = {.type = REMOTE_DONE, .error = -error, .lease = lease};

	send_sealed(session, &done, sizeof(done));
}

/* ---- The handshake ---- */

static void take_hello(struct remote_session *session)
{
	struct remote_challenge *challenge = &session->challenge;

	memcpy(&session->hello, session->input, sizeof(session->hello));
	if (session->hello.magic != REMOTE_MAGIC) {
		/* Whatever it speaks: it is told nothing. */
		remote_session_end(session, "it does not speak this protocol");
		return;
	}
	*challenge = (struct remote_challenge){
		.magic = REMOTE_MAGIC,
		.version_min = REMOTE_VERSION_MIN,
		.version_max = REMOTE_VERSION_MAX,
		.version = remote_version_choose(&session->hello),
	};
	if (challenge->version == 0)
		challenge->error = EPROTONOSUPPORT;
	else if (session->policy->busy)
		challenge->error = EBUSY;
	else
		randombytes_buf(challenge->nonce, sizeof(challenge->nonce));
	send_plain(session, challenge, sizeof(*challenge));
	if (challenge->error != 0)
		remote_session_end(session, challenge->error == EBUSY ? "there are too many peers"
								      : "it speaks another version of the protocol");
	else if (session->state == REMOTE_STATE_HELLO)
		session->state = REMOTE_STATE_PROOF;
}

static void send_setup(struct remote_session *session)
{
	struct remote_setup setup = {
		.header = {.type = REMOTE_SETUP},
		.lease_ms = session->policy->lease_ms,
		.length_max = session->policy->length_max,
	};

	strncpy(setup.provider, session->policy->provider, sizeof(setup.provider) - 1);
	send_sealed(session, &setup, sizeof(setup));
}

static void take_proof(struct remote_session *session)
{
	struct remote_proof proof, welcome;

	memcpy(&proof, session->input, sizeof(proof));
	if (proof.magic != REMOTE_MAGIC || proof.error != 0 ||
	    !remote_believe(session->policy->secret, REMOTE_PEER, &session->hello, &session->challenge, &proof,
			    &session->seal)) {
		const struct remote_proof refused = {.magic = REMOTE_MAGIC, .error = EACCES};

		send_plain(session, &refused, sizeof(refused));
		remote_session_end(session, "it has another secret");
		return;
	}
	remote_prove(session->policy->secret, REMOTE_SERVER, &session->hello, &session->challenge, &session->seal,
		     &welcome);
	session->state = REMOTE_STATE_READY;
	send_plain(session, &welcome, sizeof(welcome));
	if (session->state == REMOTE_STATE_READY)
		send_setup(session);
}

/* ---- Leases ---- */

static void take_open(struct remote_session *session)
{
	const struct remote_open *open = (const struct remote_open *)session->message;
	struct remote_grant *grant = (struct remote_grant *)session->answer;
	int error;

	if (session->state != REMOTE_STATE_READY) {
		send_done(session, 0, -EBUSY);
		return;
	}
	if (open->length > session->policy->length_max) {
		send_done(session, 0, -EFBIG);
		return;
	}
	memset(grant, 0, sizeof(*grant));
	error = session->policy->ops->open(session->data, open, grant);
	if (error != 0) {
		send_done(session, 0, error);
		return;
	}
	if (grant->length > 0) {
		session->state = REMOTE_STATE_LEASED;
		session->lease++;
		session->offset = grant->offset;
		session->length = grant->length;
		session->write = (open->flags & REMOTE_OPEN_WRITE) != 0;
	}
	grant->header = (struct remote_header){.type = REMOTE_GRANT, .lease = session->lease};
	send_sealed(session, grant, sizeof(*grant) + grant->count * sizeof(grant->piece[0]));
}

/* 0: the message is about the lease that there is. */
static int names_lease(const struct remote_session *session, const struct remote_range *range)
{
	return remote_session_leased(session) && range->header.lease == session->lease ? 0 : -ESTALE;
}

static void take_commit(struct remote_session *session)
{
	const struct remote_range *range = (const struct remote_range *)session->message;
	int error = names_lease(session, range);

	if (error == 0 && !session->write)
		error = -EBADF;
	if (error == 0 && (range->length == 0 || range->offset < session->offset ||
			   range->offset + range->length > session->offset + session->length))
		error = -ERANGE;
	if (error == 0)
		error = session->policy->ops->commit(session->data, range->offset, range->length);
	send_done(session, range->header.lease, error);
}

static void take_close(struct remote_session *session)
{
	const struct remote_range *range = (const struct remote_range *)session->message;
	bool cut = (range->flags & REMOTE_CLOSE_CUT) != 0;
	int error = names_lease(session, range);

	if (error == 0 && cut && (!session->write || range->offset < session->offset))
		error = -EBADF;
	if (error == 0) {
		end_lease(session);
		if (cut)
			error = session->policy->ops->cut(session->data, range->offset);
	}
	send_done(session, range->header.lease, error);
}

static void take_message(struct remote_session *session, size_t size)
{
	const struct remote_header pong = {.type = REMOTE_PONG};

	if (!remote_request_valid(session->message, size)) {
		remote_session_end(session, "its message makes no sense");
		return;
	}
	switch (((const struct remote_header *)session->message)->type) {
	case REMOTE_OPEN:
		take_open(session);
		break;
	case REMOTE_COMMIT:
		take_commit(session);
		break;
	case REMOTE_CLOSE:
		take_close(session);
		break;
	default:
		send_sealed(session, &pong, sizeof(pong));
		break;
	}
}

/* ---- Input ---- */

/* Bytes that must be there before the next thing can be taken; 0: that can never be. */
static size_t wanted(const struct remote_session *session)
{
	size_t sealed;

	switch (session->state) {
	case REMOTE_STATE_HELLO:
		return sizeof(struct remote_hello);
	case REMOTE_STATE_PROOF:
		return sizeof(struct remote_proof);
	default:
		if (session->have < 4)
			return 4;
		return remote_sealed_size(session->input, &sealed) == 0 ? 4 + sealed : 0;
	}
}

static void take(struct remote_session *session, size_t length)
{
	size_t size;

	switch (session->state) {
	case REMOTE_STATE_HELLO:
		take_hello(session);
		return;
	case REMOTE_STATE_PROOF:
		take_proof(session);
		return;
	default:
		if (remote_unseal(&session->seal, session->input + 4, length - 4, session->message, &size) != 0)
			remote_session_end(session, "its message was not sealed by it");
		else
			take_message(session, size);
	}
}

bool remote_session_input(struct remote_session *session, const void *bytes, size_t length, uint64_t now_ms)
{
	const uint8_t *from = bytes;

	while (session->state != REMOTE_STATE_OVER) {
		size_t want = wanted(session), part;

		if (want == 0) {
			remote_session_end(session, "its message has an impossible length");
			break;
		}
		part = want - session->have < length ? want - session->have : length;
		memcpy(session->input + session->have, from, part);
		session->have += part;
		from += part;
		length -= part;
		if (session->have < want)
			break;
		/* Four bytes say how long it is; or it is whole. */
		if (session->state >= REMOTE_STATE_READY && want == 4)
			continue;
		session->have = 0;
		take(session, want);
		if (session->state >= REMOTE_STATE_READY)
			session->deadline_ms = now_ms + session->policy->lease_ms;
	}
	return session->state != REMOTE_STATE_OVER;
}

/* ---- Time, and what others want ---- */

uint64_t remote_session_wakeup(const struct remote_session *session)
{
	if (session->state == REMOTE_STATE_OVER)
		return UINT64_MAX;
	if (session->state == REMOTE_STATE_RECALLED && session->recall_ms < session->deadline_ms)
		return session->recall_ms;
	return session->deadline_ms;
}

bool remote_session_tick(struct remote_session *session, uint64_t now_ms)
{
	if (session->state == REMOTE_STATE_RECALLED && now_ms >= session->recall_ms)
		(void)remote_session_revoke(session, 0);
	if (session->state != REMOTE_STATE_OVER && now_ms >= session->deadline_ms)
		remote_session_end(session, session->state >= REMOTE_STATE_READY ? "it was silent for too long"
										 : "it has not proven itself in time");
	return session->state != REMOTE_STATE_OVER;
}

bool remote_session_recall(struct remote_session *session, uint32_t within_ms, uint64_t now_ms)
{
	const struct remote_recall recall = {
		.header = {.type = REMOTE_RECALL, .lease = session->lease},
		.within_ms = within_ms,
	};

	if (!remote_session_leased(session))
		return session->state != REMOTE_STATE_OVER;
	if (within_ms == 0)
		return remote_session_revoke(session, 0);
	if (session->state == REMOTE_STATE_RECALLED) {
		/* A second one may have less time, never more. */
		if (now_ms + within_ms < session->recall_ms)
			session->recall_ms = now_ms + within_ms;
		return true;
	}
	session->state = REMOTE_STATE_RECALLED;
	session->recall_ms = now_ms + within_ms;
	send_sealed(session, &recall, sizeof(recall));
	return session->state != REMOTE_STATE_OVER;
}

bool remote_session_revoke(struct remote_session *session, int error)
{
	const struct remote_header ended = {.type = REMOTE_ENDED, .error = error, .lease = session->lease};

	if (remote_session_leased(session)) {
		end_lease(session);
		send_sealed(session, &ended, sizeof(ended));
	}
	return session->state != REMOTE_STATE_OVER;
}
