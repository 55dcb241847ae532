// The z-buffer of raster_torch.py, triangle by triangle. The same source is CUDA (nvcc) or plain C++ (g++, for tests).
//
// Every float operation is done in the order in which raster_torch.py does it, without contraction (-fmad=false, -ffp-contract=off),
// so keys are the same bits as those of the torch version on a CPU. Tiles are the same too: samples of a tile that lie outside of
// the triangle's box are tested as well, and tiles that stick out of the buffer are moved back.
#include <cstdint>
#include <cstring>
#include <cmath>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define HD __host__ __device__ __forceinline__
#else
#define HD static inline
#endif

typedef long long i64;
typedef unsigned long long u64;

struct Job {
    const float *screen;   // [B, 3, N]
    const i64 *faces;      // [T, 3]
    const uint8_t *cull;   // [T] or null: then cull_all for all
    const float *bias;     // [T] or null
    const uint8_t *cut;    // [T] or null: no triangle is a cut-out
    i64 *keys;             // [B, height, width]
    u64 *counters;         // [4]: triangles of middling size, large ones, candidates
    uint32_t *list;        // [pictures · T]: middling ones from the front, large ones from the back
    i64 points;            // N
    i64 first;             // first picture
    i64 triangles;         // T
    i64 pairs;             // pictures · T, below 2^32
    int cull_all, wanted;  // wanted: 0 solid triangles, 1 cut-outs
    int size_h, size_w;    // of the picture
    int height, width;     // of the buffer
    float edge, near_half; // EDGE, 0.5 · NEAR
    // candidates
    i64 capacity;
    i64 *sample, *key, *face;
    float *weights;        // [capacity, 3]
    float *area;
};

struct Triangle {
    float value[4], right[4], down[4];  // planes: the three weights and 1 / depth
    float z[3];
    int left, top, across, down_count;
    float bias;
};

#define MEDIUM_TILES 64  // up to so many tiles are one warp's work
#define PARTS 16         // warps for a larger triangle

// torch's minimum and maximum carry NaN; triangles with one are dropped before their boxes matter.
HD float min3(float a, float b, float c) { float m = a < b ? a : b; return m < c ? m : c; }
HD float max3(float a, float b, float c) { float m = a > b ? a : b; return m > c ? m : c; }
HD float positive(float x) { return x < 0.0f ? 0.0f : x; }  // clamp(min=0), NaN stays

HD void span(float a, float b, float c, int limit, float &first, float &count) {
    first = positive(ceilf(min3(a, b, c) - 0.5f));
    float last = floorf(max3(a, b, c) - 0.5f);
    float most = (float)(limit - 1);
    last = last > most ? most : last;
    count = last - first + 1.0f;
}

// As _sort: 0 where nothing is to be drawn, else 1, 2, 3 for tiles of 2, 4, 8; and the corners.
HD int sort_one(const Job &job, i64 picture, i64 face, float x[3], float y[3], i64 corner[3], float box[4]) {
    const float *screen = job.screen + picture * 3 * job.points;
    for (int k = 0; k < 3; ++k) {
        corner[k] = job.faces[3 * face + k];
        x[k] = screen[corner[k]];
        y[k] = screen[job.points + corner[k]];
    }
    float area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]);
    bool one_sided = job.cull ? job.cull[face] != 0 : job.cull_all != 0;
    if (!(fabsf(area) > 1e-9f) || !(area < 0.0f || !one_sided)) return 0;
    span(x[0], x[1], x[2], job.size_w, box[0], box[2]);
    span(y[0], y[1], y[2], job.size_h, box[1], box[3]);
    if (!(box[2] > 0.0f) || !(box[3] > 0.0f)) return 0;
    float largest = box[2] > box[3] ? box[2] : box[3];
    return 1 + (largest > 2.0f) + (largest > 4.0f);
}

// As _set_up.
HD void set_up(const Job &job, i64 picture, i64 face, const float x[3], const float y[3], const i64 corner[3],
               const float box[4], Triangle &t) {
    const float *z = job.screen + (picture * 3 + 2) * job.points;
    float cx = box[0] + 0.5f, cy = box[1] + 0.5f;
    float x0 = x[0] - cx, x1 = x[1] - cx, x2 = x[2] - cx, y0 = y[0] - cy, y1 = y[1] - cy, y2 = y[2] - cy;
    float scale = 1.0f / ((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0));
    t.value[0] = (x1 * y2 - x2 * y1) * scale;
    t.right[0] = (y1 - y2) * scale;
    t.down[0] = (x2 - x1) * scale;
    t.value[1] = (x2 * y0 - x0 * y2) * scale;
    t.right[1] = (y2 - y0) * scale;
    t.down[1] = (x0 - x2) * scale;
    t.value[2] = (x0 * y1 - x1 * y0) * scale;
    t.right[2] = (y0 - y1) * scale;
    t.down[2] = (x1 - x0) * scale;
    for (int k = 0; k < 3; ++k) t.z[k] = z[corner[k]];
    t.value[3] = t.value[0] / t.z[0] + t.value[1] / t.z[1] + t.value[2] / t.z[2];
    t.right[3] = t.right[0] / t.z[0] + t.right[1] / t.z[1] + t.right[2] / t.z[2];
    t.down[3] = t.down[0] / t.z[0] + t.down[1] / t.z[1] + t.down[2] / t.z[2];
    t.left = (int)box[0];
    t.top = (int)box[1];
    t.across = (int)box[2];
    t.down_count = (int)box[3];
    t.bias = job.bias ? job.bias[face] : 0.0f;
}

struct Tile {
    float value[4];  // at its first sample
    int left, top;
};

// As _moved.
HD void move(Tile &tile, const Triangle &t, int right, int down) {
    float r = (float)right, d = (float)down;
    for (int k = 0; k < 4; ++k) tile.value[k] = tile.value[k] + t.right[k] * r + t.down[k] * d;
}

// As the start of _draw: a tile that sticks out of the buffer is moved back.
HD void push_inside(const Job &job, Tile &tile, const Triangle &t, int side) {
    int left = tile.left < job.width - side ? tile.left : job.width - side;
    int top = tile.top < job.height - side ? tile.top : job.height - side;
    move(tile, t, left - tile.left, top - tile.top);
    tile.left = left;
    tile.top = top;
}

HD void only_tile(const Job &job, Tile &tile, const Triangle &t, int side) {
    for (int k = 0; k < 4; ++k) tile.value[k] = t.value[k];
    tile.left = t.left;
    tile.top = t.top;
    push_inside(job, tile, t, side);
}

// Tile `rank` of a large triangle, as the end of _tiles; false where it touches nothing.
HD bool tile_of(const Job &job, Tile &tile, const Triangle &t, int rank) {
    int across = (t.across + 7) / 8;
    int row = rank / across;
    int right = 8 * (rank - row * across), down = 8 * row;
    for (int k = 0; k < 4; ++k) tile.value[k] = t.value[k];
    move(tile, t, right, down);
    for (int k = 0; k < 3; ++k) {
        float most = tile.value[k] + positive(t.right[k] * 7.0f) + positive(t.down[k] * 7.0f);
        if (!(most >= job.edge)) return false;
    }
    tile.left = t.left + right;
    tile.top = t.top + down;
    push_inside(job, tile, t, 8);
    return true;
}

HD int tile_count(const Triangle &t) { return ((t.across + 7) / 8) * ((t.down_count + 7) / 8); }

// As _inside.
HD bool inside(const Job &job, const Tile &tile, const Triangle &t, int column, int row) {
    float c = (float)column, r = (float)row;
    for (int k = 0; k < 3; ++k) {
        float value = tile.value[k] + t.down[k] * r + t.right[k] * c;
        if (!(value >= job.edge)) return false;
    }
    return true;
}

HD float plane(const Tile &tile, const Triangle &t, int k, int column, int row) {
    return tile.value[k] + t.right[k] * (float)column + t.down[k] * (float)row;
}

// As _hits: the index into the keys, and the key; false where the depth is no number.
HD bool hit(const Job &job, i64 picture, i64 face, const Tile &tile, const Triangle &t, int column, int row, i64 &sample,
            i64 &key) {
    float depth = 1.0f / plane(tile, t, 3, column, row) - t.bias;
    if (depth != depth) return false;
    depth = depth < job.near_half ? job.near_half : depth;
    int32_t bits;
    memcpy(&bits, &depth, 4);
    sample = (picture * job.height + tile.top + row) * job.width + tile.left + column;
    key = ((i64)bits << 32) | face;
    return true;
}

// As _where.
HD void put_candidate(const Job &job, i64 place, i64 face, const Tile &tile, const Triangle &t, int column, int row,
                      i64 sample, i64 key) {
    if (place >= job.capacity) return;
    float over = plane(tile, t, 3, column, row);
    job.sample[place] = sample;
    job.key[place] = key;
    job.face[place] = face;
    for (int k = 0; k < 3; ++k) job.weights[3 * place + k] = plane(tile, t, k, column, row) / (t.z[k] * over);
    job.area[place] = (1.0f / fabsf(t.right[0] * t.down[1] - t.right[1] * t.down[0])) * 0.5f;
}

#ifdef __CUDACC__

__device__ __forceinline__ void lower(i64 *place, i64 key) {
    // Keys only fall: one that is not below an old value is not below the newest.
    if (key < __ldcg(place)) atomicMin(place, key);
}

__global__ void fill_kernel(i64 *keys, i64 count, i64 value) {
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) keys[i] = value;
}

// One thread a picture and triangle: small triangles are drawn, larger ones listed.
template <bool CUT>
__global__ void __launch_bounds__(256) small_kernel(Job job) {
    const unsigned lane = threadIdx.x & 31;
    u64 wide = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    int kind = 0, tiles = 0, side = 0;
    i64 picture = 0, face = 0;
    Triangle t;
    Tile tile;
    if (wide < (u64)job.pairs) {
        uint32_t pair = (uint32_t)wide, row = pair / (uint32_t)job.triangles;
        face = pair - row * (uint32_t)job.triangles;
        picture = job.first + row;
        bool cut = job.cut && job.cut[face];
        if (cut == CUT) {
            float x[3], y[3], box[4];
            i64 corner[3];
            kind = sort_one(job, picture, face, x, y, corner, box);
            if (kind == 3) {
                tiles = (((int)box[2] + 7) / 8) * (((int)box[3] + 7) / 8);
            } else if (kind) {
                side = 2 * kind;
                set_up(job, picture, face, x, y, corner, box, t);
                only_tile(job, tile, t, side);
            }
        }
    }
    __syncwarp();
    unsigned medium = __ballot_sync(~0u, kind == 3 && tiles <= MEDIUM_TILES);
    unsigned large = __ballot_sync(~0u, kind == 3 && tiles > MEDIUM_TILES);
    u64 first_medium = 0, first_large = 0;
    if (lane == 0) {
        if (medium) first_medium = atomicAdd(job.counters + 0, (u64)__popc(medium));
        if (large) first_large = atomicAdd(job.counters + 1, (u64)__popc(large));
    }
    first_medium = __shfl_sync(~0u, first_medium, 0);
    first_large = __shfl_sync(~0u, first_large, 0);
    unsigned before = (1u << lane) - 1;
    if (kind == 3) {
        if (tiles <= MEDIUM_TILES)
            job.list[first_medium + __popc(medium & before)] = (uint32_t)wide;
        else
            job.list[job.pairs - 1 - (i64)(first_large + __popc(large & before))] = (uint32_t)wide;
        side = 0;
    }
    unsigned found = 0;  // bit row · side + column
    for (int row = 0; row < side; ++row)
        for (int column = 0; column < side; ++column) {
            i64 sample, key;
            if (!inside(job, tile, t, column, row)) continue;
            if (!hit(job, picture, face, tile, t, column, row, sample, key)) continue;
            if (!CUT)
                lower(job.keys + sample, key);
            else if (key < job.keys[sample])
                found |= 1u << (row * side + column);
        }
    if (!CUT) return;
    __syncwarp();
    // A place for each candidate: one atomic a warp.
    unsigned count = __popc(found), total = count;
    for (int step = 1; step < 32; step *= 2) {
        unsigned other = __shfl_up_sync(~0u, total, step);
        if (lane >= step) total += other;
    }
    u64 place = 0;
    if (lane == 31 && total) place = atomicAdd(job.counters + 2, (u64)total);
    place = __shfl_sync(~0u, place, 31) + total - count;
    while (found) {
        int cell = __ffs(found) - 1;
        found &= found - 1;
        int row = cell / side, column = cell - row * side;
        i64 sample, key;
        hit(job, picture, face, tile, t, column, row, sample, key);
        put_candidate(job, (i64)place++, face, tile, t, column, row, sample, key);
    }
}

// One warp a listed triangle, or a part of it.
template <bool CUT>
__global__ void __launch_bounds__(256) tile_kernel(Job job) {
    const unsigned lane = threadIdx.x & 31, before = (1u << lane) - 1;
    const i64 warps = (i64)gridDim.x * (blockDim.x / 32);
    const i64 medium = (i64)job.counters[0], large = (i64)job.counters[1];
    const i64 work = medium + large * PARTS;
    for (i64 w = (i64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; w < work; w += warps) {
        int part = 0, parts = 1;
        i64 at = w;
        if (w >= medium) {
            // Large ones first come first: neighbouring warps take parts of one triangle.
            i64 rest = w - medium;
            at = job.pairs - 1 - rest / PARTS;
            part = (int)(rest % PARTS);
            parts = PARTS;
        }
        uint32_t pair = job.list[at], row_of = pair / (uint32_t)job.triangles;
        i64 face = pair - row_of * (uint32_t)job.triangles, picture = job.first + row_of;
        float x[3], y[3], box[4];
        i64 corner[3];
        Triangle t;
        sort_one(job, picture, face, x, y, corner, box);
        set_up(job, picture, face, x, y, corner, box, t);
        const int tiles = tile_count(t);
        for (int base = part * 32; base < tiles; base += parts * 32) {
            Tile tile;
            bool touches = base + (int)lane < tiles && tile_of(job, tile, t, base + (int)lane);
            unsigned mask = __ballot_sync(~0u, touches);
            while (mask) {
                int source = __ffs(mask) - 1;
                mask &= mask - 1;
                Tile here;
                for (int k = 0; k < 4; ++k) here.value[k] = __shfl_sync(~0u, tile.value[k], source);
                here.left = __shfl_sync(~0u, tile.left, source);
                here.top = __shfl_sync(~0u, tile.top, source);
                for (int half = 0; half < 2; ++half) {
                    int cell = half * 32 + (int)lane, row = cell / 8, column = cell & 7;
                    i64 sample = 0, key = 0;
                    bool there = inside(job, here, t, column, row) &&
                                 hit(job, picture, face, here, t, column, row, sample, key);
                    if (!CUT) {
                        if (there) lower(job.keys + sample, key);
                    } else {
                        there = there && key < job.keys[sample];
                        unsigned found = __ballot_sync(~0u, there);
                        if (!found) continue;  // the same for the whole warp
                        u64 place = 0;
                        if (lane == 0) place = atomicAdd(job.counters + 2, (u64)__popc(found));
                        place = __shfl_sync(~0u, place, 0) + __popc(found & before);
                        if (there) put_candidate(job, (i64)place, face, here, t, column, row, sample, key);
                    }
                }
            }
        }
    }
}

__global__ void commit_kernel(i64 *keys, const i64 *sample, const i64 *key, const uint8_t *kept, i64 count) {
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
        if (kept[i]) lower(keys + sample[i], key[i]);
}

static int processors(int device) {
    static int known[64];
    if (device < 0 || device >= 64) return 132;
    if (!known[device]) {
        int count = 0;
        if (cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess || count < 1) count = 132;
        known[device] = count;
    }
    return known[device];
}

static int stride_blocks(i64 count, int device) {
    i64 blocks = (count + 255) / 256, most = (i64)processors(device) * 16;
    return (int)(blocks < most ? (blocks > 0 ? blocks : 1) : most);
}

template <bool CUT>
static cudaError_t launch(const Job &job, int device, cudaStream_t stream) {
    cudaError_t error = cudaMemsetAsync(job.counters, 0, 4 * sizeof(u64), stream);
    if (error != cudaSuccess) return error;
    if (job.pairs > 0) {
        unsigned blocks = (unsigned)((job.pairs + 255) / 256);
        small_kernel<CUT><<<blocks, 256, 0, stream>>>(job);
        error = cudaGetLastError();
        if (error != cudaSuccess) return error;
        tile_kernel<CUT><<<processors(device) * 6, 256, 0, stream>>>(job);
        error = cudaGetLastError();
    }
    return error;
}

static cudaError_t choose(int device) {
    int current = -1;
    cudaError_t error = cudaGetDevice(&current);
    if (error == cudaSuccess && current != device) error = cudaSetDevice(device);
    return error;
}

#else

template <typename Visit>
static void tile_samples(const Job &job, i64 picture, i64 face, const Tile &tile, const Triangle &t, int side, Visit visit) {
    for (int row = 0; row < side; ++row)
        for (int column = 0; column < side; ++column) {
            i64 sample, key;
            if (inside(job, tile, t, column, row) && hit(job, picture, face, tile, t, column, row, sample, key))
                visit(tile, column, row, sample, key);
        }
}

template <bool CUT>
static void draw_all(const Job &job) {
    memset(job.counters, 0, 4 * sizeof(u64));
    for (i64 pair = 0; pair < job.pairs; ++pair) {
        i64 face = pair % job.triangles, picture = job.first + pair / job.triangles;
        if ((job.cut && job.cut[face]) != CUT) continue;
        float x[3], y[3], box[4];
        i64 corner[3];
        int kind = sort_one(job, picture, face, x, y, corner, box);
        if (!kind) continue;
        Triangle t;
        set_up(job, picture, face, x, y, corner, box, t);
        auto visit = [&](const Tile &tile, int column, int row, i64 sample, i64 key) {
            if (!(key < job.keys[sample])) return;
            if (!CUT)
                job.keys[sample] = key;
            else
                put_candidate(job, (i64)job.counters[2]++, face, tile, t, column, row, sample, key);
        };
        Tile tile;
        if (kind < 3) {
            only_tile(job, tile, t, 2 * kind);
            tile_samples(job, picture, face, tile, t, 2 * kind, visit);
            continue;
        }
        for (int rank = 0, tiles = tile_count(t); rank < tiles; ++rank)
            if (tile_of(job, tile, t, rank)) tile_samples(job, picture, face, tile, t, 8, visit);
    }
}

#endif

extern "C" {

// Sizes of structures, for the caller to compare.
int raster_job_size() { return (int)sizeof(Job); }

const char *raster_error(int code) {
#ifdef __CUDACC__
    return cudaGetErrorString((cudaError_t)code);
#else
    (void)code;
    return "";
#endif
}

// Keys of `count` samples become `value`.
int raster_fill(int device, void *stream, i64 *keys, i64 count, i64 value) {
#ifdef __CUDACC__
    cudaError_t error = choose(device);
    if (error != cudaSuccess || count < 1) return (int)error;
    fill_kernel<<<stride_blocks(count, device), 256, 0, (cudaStream_t)stream>>>(keys, count, value);
    return (int)cudaGetLastError();
#else
    (void)device, (void)stream;
    for (i64 i = 0; i < count; ++i) keys[i] = value;
    return 0;
#endif
}

// Draws solid triangles (job->wanted 0) or lists the samples of cut-outs (1).
int raster_draw(int device, void *stream, const Job *job) {
#ifdef __CUDACC__
    cudaError_t error = choose(device);
    if (error != cudaSuccess) return (int)error;
    return (int)(job->wanted ? launch<true>(*job, device, (cudaStream_t)stream)
                             : launch<false>(*job, device, (cudaStream_t)stream));
#else
    (void)device, (void)stream;
    if (job->wanted)
        draw_all<true>(*job);
    else
        draw_all<false>(*job);
    return 0;
#endif
}

int raster_commit(int device, void *stream, i64 *keys, const i64 *sample, const i64 *key, const uint8_t *kept, i64 count) {
#ifdef __CUDACC__
    cudaError_t error = choose(device);
    if (error != cudaSuccess || count < 1) return (int)error;
    commit_kernel<<<stride_blocks(count, device), 256, 0, (cudaStream_t)stream>>>(keys, sample, key, kept, count);
    return (int)cudaGetLastError();
#else
    (void)device, (void)stream;
    for (i64 i = 0; i < count; ++i)
        if (kept[i] && key[i] < keys[sample[i]]) keys[sample[i]] = key[i];
    return 0;
#endif
}

}  // extern "C"
