/* A session walked through in C gives the tokens that it gives in Rust.
 *
 *     session profile.json key.json expected.txt adfp-profile.json policy-profile.json
 *
 * expected.txt: per line a name and the number of tokens, then the tokens. */
#include "check.h"

#define VOCAB 300
#define STEPS 200

static const char *expected_path;

static void compare(const char *name, const uint32_t *tokens, size_t n) {
    FILE *file = fopen(expected_path, "r");
    CHECK(file != NULL);
    char found[64];
    size_t count;
    while (fscanf(file, "%63s %zu", found, &count) == 2) {
        int same = strcmp(found, name) == 0;
        CHECK(!same || count == n);
        for (size_t i = 0; i < count; i++) {
            uint32_t token;
            CHECK(fscanf(file, "%u", &token) == 1);
            CHECK(!same || token == tokens[i]);
        }
        if (same) {
            fclose(file);
            return;
        }
    }
    fprintf(stderr, "%s is not in %s\n", name, expected_path);
    exit(1);
}

static void compare_session(const char *name, const WmSession *session) {
    size_t n;
    uint32_t tokens[STEPS * 2];
    OK(wm_session_generated(session, tokens, STEPS * 2, &n));
    compare(name, tokens, n);
}

static uint32_t step(WmSession *session, uint32_t at) {
    float logits[VOCAB];
    uint32_t token = 0, again = 0;
    model(at, logits, VOCAB);
    OK(wm_session_sample(session, logits, VOCAB, &token));
    OK(wm_session_sample(session, logits, VOCAB, &again));
    CHECK(token == again);
    OK(wm_session_accept(session, token));
    return token;
}

static WmSession *begin(const WmMarker *marker, uint32_t marked) {
    WmSessionOptions options;
    WmSession *session;
    options.struct_size = sizeof options;
    OK(wm_session_options_default(&options));
    CHECK(options.struct_size == sizeof options && options.marked == 1 && options.temperature == 1.0f);
    options.marked = marked;
    options.seed = 7;
    options.temperature = 0.8f;
    options.top_k = 50;
    OK(wm_session_new(marker, &options, &session));
    return session;
}

static void walk(const WmMarker *marker) {
    WmSession *session = begin(marker, 1), *fork;
    WmMarkState state;
    OK(wm_session_reserve(session, STEPS));
    for (uint32_t at = 0; at < STEPS; at++) {
        step(session, at);
        OK(wm_session_mark_state(session, &state));
        CHECK(at > 0 || state == WM_MARK_STATE_NO_CONTEXT);
        CHECK(at == 0 || state == WM_MARK_STATE_MARKED);
    }
    compare_session("marked", session);

    /* back and forth again, in the session and in a fork of it */
    OK(wm_session_rollback(session, 60));
    OK(wm_session_fork(session, &fork));
    for (uint32_t at = STEPS - 60; at < STEPS; at++) {
        uint32_t token = step(session, at);
        CHECK(token == step(fork, at));
    }
    compare_session("marked", session);
    compare_session("marked", fork);
    /* another history in the fork leaves the session alone */
    OK(wm_session_rollback(fork, 10));
    OK(wm_session_accept(fork, 5));
    compare_session("marked", session);
    wm_session_free(fork);
    OK(wm_session_rollback(session, 1000000));
    size_t n = 1;
    OK(wm_session_generated(session, NULL, 0, &n));
    CHECK(n == 0);
    for (uint32_t at = 0; at < STEPS; at++) {
        step(session, at);
    }
    compare_session("marked", session);
    OK(wm_session_reset(session));
    CHECK(step(session, 0) < VOCAB);
    wm_session_free(session);

    session = begin(marker, 0);
    for (uint32_t at = 0; at < STEPS; at++) {
        step(session, at);
        OK(wm_session_mark_state(session, &state));
        CHECK(state == WM_MARK_STATE_OFF);
    }
    compare_session("unmarked", session);
    wm_session_free(session);
}

/* `process` leaves the draw to the caller, who here takes the most likely token. */
static void process(const WmMarker *marker) {
    WmSession *session = begin(marker, 1);
    float logits[VOCAB];
    for (uint32_t at = 0; at < STEPS; at++) {
        model(at, logits, VOCAB);
        OK(wm_session_process(session, logits, VOCAB));
        uint32_t best = 0, kept = 0;
        for (uint32_t v = 0; v < VOCAB; v++) {
            best = logits[v] > logits[best] ? v : best;
            kept += logits[v] > -1e30f;
        }
        CHECK(kept == 50);
        OK(wm_session_accept(session, best));
    }
    compare_session("processed", session);
    wm_session_free(session);
}

/* Candidates in any order are as good as a row. */
static void among(const WmMarker *marker) {
    WmSession *session = begin(marker, 1);
    float logits[VOCAB], few[VOCAB];
    uint32_t ids[VOCAB];
    for (uint32_t at = 0; at < STEPS; at++) {
        model(at, logits, VOCAB);
        for (uint32_t v = 0; v < VOCAB; v++) {
            ids[v] = VOCAB - 1 - v;
            few[v] = logits[VOCAB - 1 - v];
        }
        uint32_t token;
        OK(wm_session_sample_among(session, ids, few, VOCAB, &token));
        OK(wm_session_accept(session, token));
    }
    compare_session("marked", session);
    wm_session_free(session);
}

/* Drafts by another model change nothing about the text. */
static void speculate(const WmMarker *marker) {
    WmSession *session = begin(marker, 1);
    static float rows[4 * VOCAB];
    size_t n = 0;
    while (n < STEPS) {
        size_t drafts = STEPS - n > 3 ? 3 : STEPS - n - 1, emitted = 0;
        uint32_t token;
        for (size_t i = 0; i < drafts; i++) {
            model((uint32_t)(n + i), rows, VOCAB);
            rows[(n * 7) % VOCAB] += 3.0f;
            if (i == 2) {
                OK(wm_session_propose(session, 3));
            } else {
                OK(wm_session_draft(session, rows, VOCAB, &token));
            }
        }
        for (size_t i = 0; i <= drafts; i++) {
            model((uint32_t)(n + i), rows + i * VOCAB, VOCAB);
        }
        OK(wm_session_verify(session, rows, drafts + 1, &emitted));
        CHECK(emitted >= 1 && emitted <= drafts + 1);
        n += emitted;
    }
    compare_session("marked", session);
    wm_session_free(session);
}

static uint32_t bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Formats of 16 bits, which hold the model's logits (0 or 1/16 to 6, seven bits) as they are. */
static uint16_t bf16(float value) { return (uint16_t)(bits(value) >> 16); }
static uint16_t f16(float value) { return value == 0.0f ? 0 : (uint16_t)((bits(value) >> 13) - ((127 - 15) << 10)); }

static void half_precision(const WmMarker *marker) {
    WmSession *sessions[2];
    uint16_t rows[2 * VOCAB];
    float logits[VOCAB];
    uint32_t tokens[2];
    WmStatus statuses[2];
    for (uint32_t dtype = WM_DTYPE_F16; dtype <= WM_DTYPE_BF16; dtype++) {
        sessions[0] = begin(marker, 1);
        sessions[1] = begin(marker, 0);
        for (uint32_t at = 0; at < STEPS; at++) {
            model(at, logits, VOCAB);
            for (int v = 0; v < VOCAB; v++) {
                rows[v] = rows[VOCAB + v] = dtype == WM_DTYPE_F16 ? f16(logits[v]) : bf16(logits[v]);
            }
            OK(wm_sample_batch(sessions, 2, rows, VOCAB, dtype, tokens, statuses));
            OK(wm_session_accept(sessions[0], tokens[0]));
            OK(wm_session_accept(sessions[1], tokens[1]));
        }
        compare_session("marked", sessions[0]);
        compare_session("unmarked", sessions[1]);
        /* what is kept of a row is above the -inf of the format */
        OK(wm_process_batch(sessions, 2, rows, VOCAB, dtype, statuses));
        int kept = 0;
        for (int v = 0; v < VOCAB; v++) {
            kept += rows[v] != (dtype == WM_DTYPE_F16 ? 0xfc00 : 0xff80);
        }
        CHECK(kept == 50);
        wm_session_free(sessions[0]);
        wm_session_free(sessions[1]);
    }
}

/* A layer that needs a proxy's probabilities: they are asked for, and used. */
static void proxy(const WmMarker *marker) {
    WmSession *session = begin(marker, 1);
    float logits[VOCAB], probabilities[VOCAB];
    uint32_t token = 0;
    for (uint32_t at = 0; at < STEPS; at++) {
        model(at, logits, VOCAB);
        for (uint32_t v = 0; v < VOCAB; v++) {
            probabilities[v] = (float)(1 + (v + at) % 3) / (2.0f * VOCAB);
        }
        OK(wm_session_set_proxy(session, probabilities, VOCAB));
        OK(wm_session_sample(session, logits, VOCAB, &token));
        OK(wm_session_accept(session, token));
    }
    compare_session("proxy", session);
    CHECK(wm_session_sample(session, logits, VOCAB, &token) == WM_STATUS_MISSING_INPUT);
    CHECK(strstr(wm_last_error(), "proxy") != NULL);
    wm_session_free(session);
}

/* Rows side by side are as good as one after the other, and a bad one fails alone. */
static void batch(const WmMarker *marker) {
    enum { ROWS = 5, STRIDE = VOCAB + 3 };
    WmSession *sessions[ROWS];
    static float rows[ROWS * STRIDE];
    uint32_t tokens[ROWS];
    WmStatus statuses[ROWS];
    for (int i = 0; i < ROWS; i++) {
        sessions[i] = begin(marker, i % 2 == 0);
    }
    for (uint32_t at = 0; at < STEPS; at++) {
        for (int i = 0; i < ROWS; i++) {
            model(at, rows + i * STRIDE, VOCAB);
        }
        OK(wm_sample_batch(sessions, ROWS, rows, STRIDE, WM_DTYPE_F32, tokens, statuses));
        for (int i = 0; i < ROWS; i++) {
            CHECK(statuses[i] == WM_STATUS_OK);
            OK(wm_session_accept(sessions[i], tokens[i]));
        }
    }
    for (int i = 0; i < ROWS; i++) {
        compare_session(i % 2 == 0 ? "marked" : "unmarked", sessions[i]);
        OK(wm_session_reset(sessions[i]));
    }
    for (uint32_t at = 0; at < STEPS; at++) {
        for (int i = 0; i < ROWS; i++) {
            model(at, rows + i * STRIDE, VOCAB);
            rows[i * STRIDE + VOCAB] = 1234.0f;
        }
        OK(wm_process_batch(sessions, ROWS, rows, STRIDE, WM_DTYPE_F32, statuses));
        for (int i = 0; i < ROWS; i++) {
            uint32_t best = 0;
            for (uint32_t v = 0; v < VOCAB; v++) {
                best = rows[i * STRIDE + v] > rows[i * STRIDE + best] ? v : best;
            }
            CHECK(rows[i * STRIDE + VOCAB] == 1234.0f);
            OK(wm_session_accept(sessions[i], best));
        }
    }
    compare_session("processed", sessions[0]);

    rows[2 * STRIDE + 9] = 0.0f / 0.0f;
    tokens[2] = 77;
    CHECK(wm_sample_batch(sessions, ROWS, rows, STRIDE, WM_DTYPE_F32, tokens, statuses) == WM_STATUS_INVALID_LOGITS);
    for (int i = 0; i < ROWS; i++) {
        CHECK(statuses[i] == (i == 2 ? WM_STATUS_INVALID_LOGITS : WM_STATUS_OK));
        CHECK((wm_session_error(sessions[i]) != NULL) == (i == 2));
    }
    CHECK(tokens[2] == 77 && tokens[0] < VOCAB);
    /* what cannot be a batch */
    WmSession *twice[2] = {sessions[0], sessions[0]};
    CHECK(wm_sample_batch(twice, 2, rows, STRIDE, 0, tokens, statuses) == WM_STATUS_INVALID_ARGUMENT);
    twice[1] = NULL;
    CHECK(wm_sample_batch(twice, 2, rows, STRIDE, 0, tokens, statuses) == WM_STATUS_INVALID_ARGUMENT);
    CHECK(wm_sample_batch(sessions, 2, rows, VOCAB - 1, 0, tokens, statuses) == WM_STATUS_INVALID_ARGUMENT);
    CHECK(wm_sample_batch(sessions, 2, rows, STRIDE, 3, tokens, statuses) == WM_STATUS_INVALID_ARGUMENT);
    CHECK(wm_sample_batch(sessions, 2, rows, (size_t)-1, 0, tokens, statuses) == WM_STATUS_INVALID_ARGUMENT);
    CHECK(wm_sample_batch(sessions, 2, NULL, STRIDE, 0, tokens, statuses) == WM_STATUS_INVALID_ARGUMENT);
    CHECK(wm_sample_batch(sessions, 2, rows, STRIDE, 0, tokens, NULL) == WM_STATUS_INVALID_ARGUMENT);
    CHECK(wm_process_batch(sessions, 2, (char *)rows + 1, STRIDE, 0, statuses) == WM_STATUS_INVALID_ARGUMENT);
    OK(wm_sample_batch(NULL, 0, NULL, 0, 0, NULL, NULL));
    for (int i = 0; i < ROWS; i++) {
        wm_session_free(sessions[i]);
    }
}

/* A request below the policy's floors is raised, the session says so, and the tokens are those of the policy. */
static void policy(const WmMarker *marker, const WmMarker *held) {
    WmSessionOptions options;
    WmSession *session;
    WmRaised raised;
    WmMarkState state;
    CHECK(wm_marker_marks_greedy(marker) == 0 && wm_marker_marks_greedy(held) == 1 && wm_marker_marks_greedy(NULL) == 0);
    options.struct_size = sizeof options;
    OK(wm_session_options_default(&options));
    options.seed = 7;
    options.temperature = 0.0f;
    options.top_p = 0.25;
    options.top_k = 50;
    OK(wm_session_new(held, &options, &session));
    raised.struct_size = sizeof raised;
    OK(wm_session_raised(session, &raised));
    CHECK(raised.temperature_from == 0.0f && raised.temperature_to == 0.5f);
    CHECK(raised.top_p_from == 0.25 && raised.top_p_to == 0.75);
    for (uint32_t at = 0; at < STEPS; at++) {
        step(session, at);
        OK(wm_session_mark_state(session, &state));
        CHECK(at == 0 || state == WM_MARK_STATE_MARKED);
    }
    compare_session("raised", session);
    wm_session_free(session);
    options.temperature = 0.8f;
    options.top_p = 1.0;
    OK(wm_session_new(held, &options, &session));
    OK(wm_session_raised(session, &raised));
    CHECK(raised.temperature_to == 0.0f && raised.top_p_to == 0.0 && raised.struct_size == sizeof raised);
    wm_session_free(session);
}

int main(int argc, char **argv) {
    CHECK(argc == 6);
    expected_path = argv[3];
    WmMarker *marker = open_marker(argv[1], argv[2]);
    CHECK(wm_marker_vocab_size(marker) == VOCAB && wm_marker_vocab_size(NULL) == 0);
    CHECK(wm_marker_chooses(marker) == 1 && wm_marker_chooses(NULL) == 0);
    CHECK(wm_marker_has_account_layer(marker) == 0 && wm_marker_has_account_layer(NULL) == 0);
    walk(marker);
    process(marker);
    among(marker);
    speculate(marker);
    batch(marker);
    half_precision(marker);
    WmMarker *held = open_marker(argv[5], argv[2]);
    policy(marker, held);
    wm_marker_free(held);
    WmMarker *adfp = open_marker(argv[4], argv[2]);
    CHECK(wm_marker_chooses(adfp) == 0);
    proxy(adfp);
    wm_marker_free(adfp);
    /* a session outlives its marker */
    WmSession *session = begin(marker, 1);
    wm_marker_free(marker);
    for (uint32_t at = 0; at < STEPS; at++) {
        step(session, at);
    }
    compare_session("marked", session);
    wm_session_free(session);
    puts("session: ok");
    return 0;
}
