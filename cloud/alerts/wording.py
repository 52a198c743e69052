"""A rule in words, Chinese and English, for whoever asks the API why an alarm was raised. Pure.

The console's pages say the same in `cloud.console.show`, one language at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_specs.schema import Above, Below, Equals, Missing, OneOf, RateOfRise

if TYPE_CHECKING:
    from firmware_specs.schema import AlarmRule, Profile

OWN: Final = {
    "gateway-offline": ("网关静默超过允许的时间", "nothing was heard of the gateway for longer than is allowed"),
    "device-silent": ("设备静默超过允许的时间", "nothing was heard of the device for longer than is allowed"),
    "gateway-disk-full": (
        "网关磁盘剩余不足 5%；回到 8% 以上时解除",
        "5 % of the gateway's disk or less is free; clears at 8 %",
    ),
    "gateway-certificate": (
        "网关证书剩余不足 14 天且续期已逾期；续期后解除",
        "the gateway's certificate ends in less than 14 days and its renewal is overdue; clears when it is renewed",
    ),
    "gateway-clock": (
        "网关时钟失步超过 1 小时；同步满 10 分钟后解除",
        "the gateway's clock was not synced for an hour; clears after 10 minutes in sync",
    ),
    "gateway-wear": (
        "网关磁盘连续 7 天写入超过每日预算；单日低于预算的 80% 时解除",
        "the gateway's disk was written to beyond its budget on 7 days in a row; clears after a day below 80 % of it",
    ),
    "self-timer-late": (
        "平台的定时任务比应有时间晚 10 秒以上；回到 2 秒以内满 5 分钟后恢复",
        "a deadline fired more than 10 s late; clears after 5 minutes below 2 s",
    ),
    "self-ingest-lag": (
        "有网关在线，但 60 秒以上没有任何数据包入库；新包入库后 30 秒内恢复",
        "gateways are online, and no pack was committed for 60 s; clears when the newest is less than 30 s old",
    ),
    "self-notify-failing": (
        "有通知渠道连续 5 分钟发送失败；全部渠道恢复送达后解除",
        "a channel has failed for 5 minutes; clears when every channel delivers again",
    ),
    "self-series-away": (
        "时序库超过 60 秒没有应答，读数暂存于本机日志；恢复应答后解除",
        "the series store has not answered for 60 s, readings wait in the journal; clears when it answers",
    ),
    "claim-reused": (
        "已使用过的认领码又被另一把密钥使用；确认后由人解除",
        "a claim code that was used already came with another key; somebody clears it once it is understood",
    ),
    "broker-list-stale": (
        "消息代理的证书吊销列表未能及时更新：超过允许的时间，或 60 秒内未反映吊销",
        "the broker's revocation list is older than is allowed, or has not followed a revocation for 60 s",
    ),
    "authority-ending": (
        "网关证书机构的根证书或中间证书距到期不足 365 天，需要用离线根密钥续签；续签后解除",
        "less than 365 days are left of the gateways' authority; clears when it is renewed by the root's key",
    ),
    "server-certificate-ending": (
        "平台自有的服务器证书距到期不足 60 天；换成新证书后解除",
        "less than 60 days are left of a server's certificate of our own; clears when a later one is in its place",
    ),
    "release-renewal-failed": (
        "快照或时间戳元数据的有效期剩余不足四分之一仍未续签；续签后解除",
        "less than a quarter of the life of the snapshot or the timestamp is left; clears when it is signed again",
    ),
    "release-expiring": (
        "根或目标元数据的有效期剩余不足六分之一，需要持钥人重新签署；签署后解除",
        "less than a sixth of the life of root or targets is left; clears when the key holders have signed again",
    ),
}  # fmt: skip
"""What the cloud judges by itself; another folder's kinds are named by their kind only."""


def rule(profile: Profile, judged: AlarmRule) -> tuple[str, str]:
    """A profile's rule with its limits, in Chinese and in English."""
    spec = profile.metrics[judged.metric]
    unit = {"Cel": " °C", "%RH": " %", "%EL": " %", "%obs/m": " %/m", "": ""}.get(spec.unit, f" {spec.unit}")
    zh, en = _condition(profile, judged, unit)
    zh, en = f"{spec.title.zh}{zh}", f"{spec.title.en} {en}"
    if judged.for_s:
        zh, en = f"{zh}，持续 {judged.for_s:g} 秒", f"{en}, for {judged.for_s:g} s"
    if isinstance(judged.when, Above | Below) and judged.when.clear is not None:
        zh = f"{zh}；回到 {judged.when.clear:g}{unit} 时恢复"
        en = f"{en}; clears at {judged.when.clear:g}{unit}"
    return zh, en


def _condition(profile: Profile, judged: AlarmRule, unit: str) -> tuple[str, str]:
    when = judged.when
    if isinstance(when, Above):
        return f"高于 {when.limit:g}{unit}", f"above {when.limit:g}{unit}"
    if isinstance(when, Below):
        return f"低于 {when.limit:g}{unit}", f"below {when.limit:g}{unit}"
    if isinstance(when, Equals):
        value = str(when.value).lower() if isinstance(when.value, bool) else str(when.value)
        return f"为 {value}", f"is {value}"
    if isinstance(when, OneOf):
        return f"为 {'、'.join(when.values)} 之一", f"is one of {', '.join(when.values)}"
    if isinstance(when, RateOfRise):
        limit = f"{when.per_minute:g}{unit}"
        return f"每分钟上升超过 {limit}", f"rises by more than {limit} a minute"
    if isinstance(when, Missing):
        span = when.after_s or profile.silent_after_ms / 1000
        return f"超过 {span:g} 秒没有数据", f"has no data for more than {span:g} s"
    raise TypeError(f"{type(when).__name__}: no words for it")
