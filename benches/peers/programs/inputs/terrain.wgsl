// Draws hills from layered noise by marching along each ray, with water, snow, fog and a sky.

struct View {
    eye: vec3<f32>,
    time: f32,
    right: vec3<f32>,
    width: f32,
    up: vec3<f32>,
    height: f32,
    ahead: vec3<f32>,
    detail: i32,
    sun: vec3<f32>,
    sea: f32,
}

struct Hit {
    found: bool,
    distance: f32,
    steps: i32,
    at: vec3<f32>,
}

@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var target_image: texture_storage_2d<rgba8unorm, write>;

fn hash(at: vec2<f32>) -> f32 {
    let p = fract(at * vec2<f32>(123.34, 456.21));
    let q = p + dot(p, p + 45.32);
    return fract(q.x * q.y);
}

fn noise(at: vec2<f32>) -> f32 {
    let cell = floor(at);
    let part = fract(at);
    let smooth_part = part * part * (3.0 - 2.0 * part);
    let a = hash(cell);
    let b = hash(cell + vec2<f32>(1.0, 0.0));
    let c = hash(cell + vec2<f32>(0.0, 1.0));
    let d = hash(cell + vec2<f32>(1.0, 1.0));
    return mix(mix(a, b, smooth_part.x), mix(c, d, smooth_part.x), smooth_part.y);
}

fn ground(at: vec2<f32>, octaves: i32) -> f32 {
    var sum = 0.0;
    var weight = 0.5;
    var p = at * 0.05;
    let turn = mat2x2<f32>(0.8, 0.6, -0.6, 0.8);
    for (var i = 0; i < octaves; i++) {
        sum += weight * noise(p);
        weight *= 0.48;
        p = turn * p * 2.03;
    }
    return sum * sum * 24.0;
}

fn slope(at: vec2<f32>) -> vec3<f32> {
    let e = 0.05;
    let x = ground(at + vec2<f32>(e, 0.0), view.detail) - ground(at - vec2<f32>(e, 0.0), view.detail);
    let y = ground(at + vec2<f32>(0.0, e), view.detail) - ground(at - vec2<f32>(0.0, e), view.detail);
    return normalize(vec3<f32>(-x, 2.0 * e, -y));
}

fn march(from_eye: vec3<f32>, ray: vec3<f32>, far: f32) -> Hit {
    var hit = Hit(false, 0.0, 0, from_eye);
    var last = 0.0;
    while (hit.distance < far && hit.steps < 200) {
        hit.at = from_eye + ray * hit.distance;
        let above = hit.at.y - ground(hit.at.xz, 5);
        if (above < 0.002 * hit.distance) {
            hit.found = true;
            break;
        }
        last = hit.distance;
        hit.distance += max(above * 0.5, 0.02);
        hit.steps++;
    }
    if (hit.found) {
        var low = last;
        var high = hit.distance;
        for (var i = 0; i < 6; i++) {
            let middle = 0.5 * (low + high);
            let at = from_eye + ray * middle;
            if (at.y < ground(at.xz, view.detail)) {
                high = middle;
            } else {
                low = middle;
            }
        }
        hit.distance = high;
        hit.at = from_eye + ray * high;
    }
    return hit;
}

fn sky(ray: vec3<f32>) -> vec3<f32> {
    let rise = clamp(ray.y, 0.0, 1.0);
    let blue = mix(vec3<f32>(0.75, 0.82, 0.9), vec3<f32>(0.2, 0.4, 0.75), pow(rise, 0.6));
    let glare = pow(max(dot(ray, view.sun), 0.0), 350.0);
    let cloud = smoothstep(0.45, 0.8, noise(ray.xz / (ray.y + 0.1) * 2.0 + view.time * 0.01));
    return mix(blue, vec3<f32>(1.0), cloud * rise) + vec3<f32>(1.0, 0.9, 0.7) * glare;
}

fn soil(at: vec3<f32>, normal: vec3<f32>) -> vec3<f32> {
    let rock = vec3<f32>(0.38, 0.34, 0.31) * (0.7 + 0.3 * noise(at.xz * 3.0));
    let grass = vec3<f32>(0.24, 0.38, 0.14);
    let snow = vec3<f32>(0.93, 0.95, 0.98);
    let sand = vec3<f32>(0.76, 0.69, 0.5);
    var color = mix(rock, grass, smoothstep(0.65, 0.85, normal.y));
    if (at.y < view.sea + 0.4) {
        color = mix(sand, color, smoothstep(view.sea, view.sea + 0.4, at.y));
    }
    let cold = smoothstep(9.0, 13.0, at.y + 2.0 * noise(at.xz * 0.5));
    return mix(color, snow, cold * smoothstep(0.4, 0.7, normal.y));
}

fn shade(ray: vec3<f32>) -> vec3<f32> {
    let hit = march(view.eye, ray, 160.0);
    let sea_at = select(1e9, (view.sea - view.eye.y) / ray.y, ray.y < 0.0);
    var color = sky(ray);
    var distance = 160.0;
    if (hit.found && hit.distance < sea_at) {
        let normal = slope(hit.at.xz);
        let shadow = march(hit.at + normal * 0.1, view.sun, 40.0);
        let sun = select(max(dot(normal, view.sun), 0.0), 0.0, shadow.found);
        color = soil(hit.at, normal) * (vec3<f32>(1.0, 0.95, 0.85) * sun + vec3<f32>(0.25, 0.3, 0.4));
        distance = hit.distance;
    } else if (sea_at < 160.0) {
        let at = view.eye + ray * sea_at;
        let ripple = vec2<f32>(noise(at.xz * 2.0 + view.time), noise(at.zx * 2.0 - view.time)) - 0.5;
        let normal = normalize(vec3<f32>(ripple.x * 0.2, 1.0, ripple.y * 0.2));
        let depth = clamp((view.sea - ground(at.xz, 4)) * 0.4, 0.0, 1.0);
        let mirror = sky(reflect(ray, normal));
        color = mix(mix(vec3<f32>(0.2, 0.5, 0.5), vec3<f32>(0.02, 0.1, 0.2), depth), mirror, 0.4);
        distance = sea_at;
    }
    let fog = 1.0 - exp(-distance * distance * 0.0001);
    return mix(color, vec3<f32>(0.72, 0.79, 0.88), fog);
}

@compute @workgroup_size(8, 8)
fn draw(@builtin(global_invocation_id) id: vec3<u32>) {
    if (f32(id.x) >= view.width || f32(id.y) >= view.height) {
        return;
    }
    var sum = vec3<f32>(0.0);
    for (var sample = 0; sample < 4; sample++) {
        let offset = vec2<f32>(f32(sample % 2), f32(sample / 2)) * 0.5;
        let pixel = (vec2<f32>(id.xy) + offset) / vec2<f32>(view.width, view.height) * 2.0 - 1.0;
        let ray = normalize(view.ahead + pixel.x * view.right - pixel.y * view.up);
        sum += shade(ray);
    }
    textureStore(target_image, vec2<i32>(id.xy), vec4<f32>(sqrt(sum / 4.0), 1.0));
}
