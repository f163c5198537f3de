// Moves particles, makes them push each other away, and counts them in cells.

struct Particle {
    position: vec4<f32>,
    velocity: vec4<f32>,
    color: vec4<f32>,
    age: f32,
    kind: u32,
    cell: u32,
    seed: u32,
}

struct Settings {
    step: f32,
    count: u32,
    gravity: vec3<f32>,
    damping: f32,
    low: vec3<f32>,
    cells: u32,
    high: vec3<f32>,
    time: f32,
}

@group(0) @binding(0) var<uniform> settings: Settings;
@group(0) @binding(1) var<storage, read> before: array<Particle>;
@group(0) @binding(2) var<storage, read_write> after: array<Particle>;
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;

var<workgroup> near: array<vec4<f32>, 64>;
var<workgroup> sums: array<u32, 64>;

fn next(seed: ptr<function, u32>) -> f32 {
    var x = *seed;
    x ^= x << 13u;
    x ^= x >> 17u;
    x ^= x << 5u;
    *seed = x;
    return f32(x & 0xffffu) / 65536.0;
}

fn turned(v: vec3<f32>, angle: f32) -> vec3<f32> {
    let c = cos(angle);
    let s = sin(angle);
    return mat3x3<f32>(vec3<f32>(c, s, 0.0), vec3<f32>(-s, c, 0.0), vec3<f32>(0.0, 0.0, 1.0)) * v;
}

fn wind(at: vec3<f32>, time: f32) -> vec3<f32> {
    let a = sin(at.x * 1.7 + time) * cos(at.y * 2.3 - time);
    let b = sin(at.y * 1.1 + time * 0.7) * cos(at.z * 1.9);
    let c = sin(at.z * 2.9 - time * 1.3) * cos(at.x * 0.8);
    return turned(vec3<f32>(a, b, c), time * 0.1);
}

fn cell_of(at: vec3<f32>) -> u32 {
    let share = clamp((at - settings.low) / (settings.high - settings.low), vec3<f32>(0.0), vec3<f32>(0.999));
    let index = vec3<u32>(share * f32(settings.cells));
    return index.x + settings.cells * (index.y + settings.cells * index.z);
}

fn reborn(seed: u32, kind: u32) -> Particle {
    var particle: Particle;
    var state = seed | 1u;
    let width = settings.high - settings.low;
    let place = vec3<f32>(next(&state), next(&state), next(&state));
    particle.position = vec4<f32>(settings.low + place * width, 1.0);
    particle.velocity = vec4<f32>(next(&state) - 0.5, next(&state) - 0.5, next(&state) - 0.5, 0.0);
    switch kind % 4u {
        case 0u: { particle.color = vec4<f32>(1.0, 0.4, 0.1, 1.0); }
        case 1u: { particle.color = vec4<f32>(0.2, 0.6, 1.0, 1.0); }
        case 2u: { particle.color = vec4<f32>(0.5, 0.9, 0.3, 0.8); }
        default: { particle.color = vec4<f32>(1.0); }
    }
    particle.kind = kind;
    particle.seed = state;
    return particle;
}

@compute @workgroup_size(64)
fn advance(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = min(id.x, settings.count - 1u);
    var particle = before[index];
    near[local] = particle.position;
    workgroupBarrier();
    var push = vec3<f32>(0.0);
    for (var i = 0u; i < 64u; i += 1u) {
        if (i == local) {
            continue;
        }
        let way = particle.position.xyz - near[i].xyz;
        let square = dot(way, way) + 0.01;
        if (square > 4.0) {
            continue;
        }
        push += way / (square * sqrt(square));
    }
    let force = settings.gravity + push * 0.02 + wind(particle.position.xyz, settings.time);
    var velocity = (particle.velocity.xyz + force * settings.step) * settings.damping;
    var position = particle.position.xyz + velocity * settings.step;
    for (var axis = 0; axis < 3; axis += 1) {
        if (position[axis] < settings.low[axis] || position[axis] > settings.high[axis]) {
            velocity[axis] = -velocity[axis] * 0.8;
            position[axis] = clamp(position[axis], settings.low[axis], settings.high[axis]);
        }
    }
    particle.position = vec4<f32>(position, 1.0);
    particle.velocity = vec4<f32>(velocity, length(velocity));
    particle.age += settings.step;
    particle.cell = cell_of(position);
    if (particle.age > 10.0) {
        particle = reborn(particle.seed + index * 747796405u, particle.kind);
    }
    if (id.x < settings.count) {
        after[index] = particle;
        atomicAdd(&counts[particle.cell], 1u);
    }
}

@compute @workgroup_size(64)
fn scan(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    sums[local] = atomicLoad(&counts[id.x]);
    workgroupBarrier();
    var reach = 1u;
    loop {
        if (reach >= 64u) {
            break;
        }
        var other = 0u;
        if (local >= reach) {
            other = sums[local - reach];
        }
        workgroupBarrier();
        sums[local] += other;
        workgroupBarrier();
        continuing {
            reach = reach * 2u;
        }
    }
    atomicStore(&counts[id.x], sums[local]);
}
