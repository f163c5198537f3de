// Surfaces lit by several lamps, with roughness and shadows.

struct Camera {
    view: mat4x4<f32>,
    projection: mat4x4<f32>,
    position: vec3<f32>,
    exposure: f32,
}

struct Lamp {
    position: vec4<f32>,
    color: vec3<f32>,
    reach: f32,
}

struct Lamps {
    count: u32,
    ambient: vec3<f32>,
    list: array<Lamp, 16>,
}

struct Material {
    color: vec4<f32>,
    roughness: f32,
    metal: f32,
    glow: f32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> camera: Camera;
@group(0) @binding(1) var<uniform> lamps: Lamps;
@group(1) @binding(0) var<uniform> material: Material;
@group(1) @binding(1) var base_texture: texture_2d<f32>;
@group(1) @binding(2) var normal_texture: texture_2d<f32>;
@group(1) @binding(3) var base_sampler: sampler;
@group(2) @binding(0) var shadow_map: texture_depth_2d;
@group(2) @binding(1) var shadow_sampler: sampler_comparison;
@group(2) @binding(2) var<uniform> shadow_view: mat4x4<f32>;

struct VertexInput {
    @location(0) position: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @location(2) tangent: vec4<f32>,
    @location(3) texture_at: vec2<f32>,
}

struct Surface {
    @builtin(position) clip: vec4<f32>,
    @location(0) world: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @location(2) tangent: vec3<f32>,
    @location(3) bitangent: vec3<f32>,
    @location(4) texture_at: vec2<f32>,
    @location(5) shadow_at: vec4<f32>,
}

const PI: f32 = 3.14159265;
const SHADOW_STEPS: i32 = 2;

@vertex
fn vertex(input: VertexInput) -> Surface {
    var surface: Surface;
    let world = vec4<f32>(input.position, 1.0);
    surface.clip = camera.projection * camera.view * world;
    surface.world = world.xyz;
    surface.normal = normalize(input.normal);
    surface.tangent = normalize(input.tangent.xyz);
    surface.bitangent = cross(surface.normal, surface.tangent) * input.tangent.w;
    surface.texture_at = input.texture_at;
    surface.shadow_at = shadow_view * world;
    return surface;
}

fn spread(normal: vec3<f32>, half_way: vec3<f32>, roughness: f32) -> f32 {
    let a = roughness * roughness;
    let a2 = a * a;
    let cosine = max(dot(normal, half_way), 0.0);
    let below = cosine * cosine * (a2 - 1.0) + 1.0;
    return a2 / (PI * below * below);
}

fn masking(cosine: f32, roughness: f32) -> f32 {
    let r = roughness + 1.0;
    let k = r * r / 8.0;
    return cosine / (cosine * (1.0 - k) + k);
}

fn fresnel(cosine: f32, base: vec3<f32>) -> vec3<f32> {
    return base + (vec3<f32>(1.0) - base) * pow(clamp(1.0 - cosine, 0.0, 1.0), 5.0);
}

fn shadow(at: vec4<f32>) -> f32 {
    let flat = at.xyz / at.w;
    let texture_at = flat.xy * vec2<f32>(0.5, -0.5) + vec2<f32>(0.5, 0.5);
    if (texture_at.x < 0.0 || texture_at.x > 1.0 || texture_at.y < 0.0 || texture_at.y > 1.0) {
        return 1.0;
    }
    let step = 1.0 / vec2<f32>(textureDimensions(shadow_map));
    var light = 0.0;
    for (var y = -SHADOW_STEPS; y <= SHADOW_STEPS; y += 1) {
        for (var x = -SHADOW_STEPS; x <= SHADOW_STEPS; x += 1) {
            let near = texture_at + vec2<f32>(f32(x), f32(y)) * step;
            light += textureSampleCompareLevel(shadow_map, shadow_sampler, near, flat.z - 0.002);
        }
    }
    let side = f32(2 * SHADOW_STEPS + 1);
    return light / (side * side);
}

fn lit(lamp: Lamp, world: vec3<f32>, normal: vec3<f32>, eye: vec3<f32>, color: vec3<f32>) -> vec3<f32> {
    let way = lamp.position.xyz - world * lamp.position.w;
    let distance = length(way);
    let to_lamp = way / max(distance, 0.0001);
    let half_way = normalize(to_lamp + eye);
    let facing = max(dot(normal, to_lamp), 0.0);
    let seen = max(dot(normal, eye), 0.0001);
    let fade = clamp(1.0 - pow(distance / lamp.reach, 4.0), 0.0, 1.0) / (distance * distance + 1.0);
    let base = mix(vec3<f32>(0.04), color, material.metal);
    let mirror = fresnel(max(dot(half_way, eye), 0.0), base);
    let part = masking(seen, material.roughness) * masking(facing, material.roughness);
    let shine = mirror * spread(normal, half_way, material.roughness) * part / (4.0 * seen * max(facing, 0.0001));
    let diffuse = (vec3<f32>(1.0) - mirror) * (1.0 - material.metal) * color / PI;
    return (diffuse + shine) * lamp.color * fade * facing;
}

@fragment
fn fragment(surface: Surface) -> @location(0) vec4<f32> {
    let texel = textureSample(base_texture, base_sampler, surface.texture_at);
    let bump = textureSample(normal_texture, base_sampler, surface.texture_at).xyz * 2.0 - vec3<f32>(1.0);
    let color = texel * material.color;
    if (color.a < 0.1) {
        discard;
    }
    let frame = mat3x3<f32>(surface.tangent, surface.bitangent, surface.normal);
    let normal = normalize(frame * bump);
    let eye = normalize(camera.position - surface.world);
    var sum = lamps.ambient * color.rgb + material.glow * color.rgb;
    for (var i = 0u; i < min(lamps.count, 16u); i += 1u) {
        var share = lit(lamps.list[i], surface.world, normal, eye, color.rgb);
        if (i == 0u && (material.flags & 1u) != 0u) {
            share *= shadow(surface.shadow_at);
        }
        sum += share;
    }
    let mapped = sum * camera.exposure / (sum * camera.exposure + vec3<f32>(1.0));
    return vec4<f32>(pow(mapped, vec3<f32>(1.0 / 2.2)), color.a);
}
