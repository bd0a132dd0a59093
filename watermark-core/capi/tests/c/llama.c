/* The sampler for llama.cpp behind a host that does with it what libllama does. The real one: tests/llama_cpp.py.
 *
 *     llama profile.json key.json */
#include <math.h>
#include <stdbool.h>

#include "check.h"

#define VOCAB 300
#define STEPS 120

/* as llama.h lays them out */
typedef struct {
    int32_t id;
    float logit, p;
} Data;
typedef struct {
    Data *data;
    size_t size;
    int64_t selected;
    bool sorted;
} Array;
struct llama_sampler_i {
    const char *(*name)(const struct llama_sampler *);
    void (*accept)(struct llama_sampler *, int32_t);
    void (*apply)(struct llama_sampler *, Array *);
    void (*reset)(struct llama_sampler *);
    struct llama_sampler *(*clone)(const struct llama_sampler *);
    void (*free)(struct llama_sampler *);
    void (*backend[5])(void);
    void (*copy_state)(const struct llama_sampler *, struct llama_sampler *);
};
struct llama_sampler {
    struct llama_sampler_i *iface;
    void *ctx;
};

static struct llama_sampler *init(struct llama_sampler_i *iface, void *ctx) {
    struct llama_sampler *sampler = (struct llama_sampler *)malloc(sizeof *sampler);
    CHECK(sampler != NULL);
    sampler->iface = iface;
    sampler->ctx = ctx;
    return sampler;
}

static struct llama_sampler *init_fails(struct llama_sampler_i *iface, void *ctx) {
    (void)iface, (void)ctx;
    return NULL;
}

static void end(struct llama_sampler *sampler) {
    sampler->iface->free(sampler);
    free(sampler);
}

static struct llama_sampler *sampler_of(const WmSession *session) {
    void *ctx;
    OK(wm_llama_ctx_new(session, init, &ctx));
    return init(wm_llama_iface(), ctx);
}

/* Every third token is left, most likely ones last. */
static Array candidates(uint32_t at, Data *data) {
    float logits[VOCAB];
    Array array = {data, 0, -1, false};
    model(at, logits, VOCAB);
    for (int32_t v = VOCAB - 1; v >= 0; v -= 3) {
        data[array.size++] = (Data){v, logits[v], 0.0f};
    }
    return array;
}

static uint32_t step(struct llama_sampler *sampler, uint32_t at) {
    Data data[VOCAB];
    Array array = candidates(at, data);
    sampler->iface->apply(sampler, &array);
    CHECK(array.selected >= 0 && (size_t)array.selected < array.size);
    int64_t selected = array.selected;
    sampler->iface->apply(sampler, &array);
    CHECK(array.selected == selected);
    sampler->iface->accept(sampler, array.data[selected].id);
    return (uint32_t)array.data[selected].id;
}

static uint32_t session_step(WmSession *session, uint32_t at) {
    Data data[VOCAB];
    Array array = candidates(at, data);
    uint32_t ids[VOCAB], token;
    float logits[VOCAB];
    for (size_t i = 0; i < array.size; i++) {
        ids[i] = (uint32_t)array.data[i].id;
        logits[i] = array.data[i].logit;
    }
    OK(wm_session_sample_among(session, ids, logits, array.size, &token));
    OK(wm_session_accept(session, token));
    return token;
}

static void errors(struct llama_sampler *sampler) {
    Data data[3] = {{4, 1.0f, 0.0f}, {9, NAN, 0.0f}, {2, 3.0f, 0.0f}};
    Array array = {data, 3, -1, false};
    WmSession *inside = wm_llama_session(sampler->ctx);
    sampler->iface->reset(sampler);
    CHECK(wm_session_error(inside) == NULL);
    sampler->iface->apply(sampler, &array);
    CHECK(array.selected == 2 && wm_session_error(inside) != NULL);
    /* sticky, and llama.cpp still gets a token */
    data[1].logit = 2.0f;
    array.selected = -1;
    sampler->iface->apply(sampler, &array);
    sampler->iface->accept(sampler, 2);
    CHECK(array.selected == 2 && wm_session_error(inside) != NULL);
    sampler->iface->reset(sampler);
    CHECK(wm_session_error(inside) == NULL);
    /* ids that no vocabulary has */
    data[0].id = -1;
    sampler->iface->apply(sampler, &array);
    CHECK(strstr(wm_session_error(inside), "vocab_size 300") != NULL);
    sampler->iface->reset(sampler);
    sampler->iface->accept(sampler, VOCAB);
    CHECK(strstr(wm_session_error(inside), "vocab_size 300") != NULL);
    sampler->iface->reset(sampler);
    sampler->iface->apply(sampler, NULL);
    CHECK(strstr(wm_last_error(), "candidates is NULL") != NULL);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    WmMarker *marker = open_marker(argv[1], argv[2]);
    WmSession *session;
    void *ctx;
    OK(wm_session_new(marker, NULL, &session));
    wm_marker_free(marker);
    struct llama_sampler *sampler = sampler_of(session), *copy, *other;
    CHECK(strcmp(sampler->iface->name(sampler), "watermark") == 0);
    CHECK(wm_llama_iface() == sampler->iface);

    for (uint32_t at = 0; at < STEPS; at++) {
        CHECK(step(sampler, at) == session_step(session, at));
    }
    /* a clone goes on alone */
    copy = sampler->iface->clone(sampler);
    CHECK(copy != NULL && copy != sampler && copy->ctx != sampler->ctx && copy->iface == sampler->iface);
    for (uint32_t at = STEPS; at < 2 * STEPS; at++) {
        uint32_t token = session_step(session, at);
        CHECK(token == step(copy, at) && token == step(sampler, at));
    }
    /* a state is copied over another one */
    OK(wm_session_rollback(session, STEPS));
    other = sampler_of(session);
    sampler->iface->copy_state(other, sampler);
    for (uint32_t at = STEPS; at < 2 * STEPS; at++) {
        CHECK(step(other, at) == step(sampler, at));
    }
    /* from the beginning */
    sampler->iface->reset(sampler);
    OK(wm_session_reset(session));
    for (uint32_t at = 0; at < STEPS; at++) {
        CHECK(step(sampler, at) == session_step(session, at));
    }
    size_t n;
    OK(wm_session_generated(wm_llama_session(sampler->ctx), NULL, 0, &n));
    CHECK(n == STEPS);
    errors(copy);
    end(copy);
    end(other);
    end(sampler);

    CHECK(wm_llama_ctx_new(session, NULL, &ctx) == WM_STATUS_INVALID_ARGUMENT && ctx == NULL);
    CHECK(wm_llama_ctx_new(NULL, init, &ctx) == WM_STATUS_INVALID_ARGUMENT);
    CHECK(wm_llama_session(NULL) == NULL);
    /* a host without memory for the clone */
    OK(wm_llama_ctx_new(session, init_fails, &ctx));
    sampler = init(wm_llama_iface(), ctx);
    CHECK(sampler->iface->clone(sampler) == NULL);
    end(sampler);
    wm_session_free(session);
    puts("llama: ok");
    return 0;
}
