% rebase('layout.tpl')
<div class="head">
  <div><h1>{{page.title}}</h1><p class="note">{{t("providers.note")}}</p></div>
</div>
% for one in page.providers:
<section>
  <h2><bdi>{{one.name}}</bdi> <span class="note">{{one.kind}}</span>
% if one.fault:
    <span class="pill failed">{{t("providers.away")}}</span>
% else:
    <span class="pill good">{{t("providers.answers", time=one.ping)}}</span>
% end
  </h2>
% if one.fault:
  <p class="notice bad">{{one.fault}}</p>
% end
% for text in one.warnings:
  <p class="notice warn">{{text}}</p>
% end
  <dl class="record">
    <div><dt>{{t("providers.keeps")}}</dt><dd>{{", ".join(one.can) or t("providers.keeps_nothing")}}</dd></div>
    <div><dt>{{t("providers.holds")}}</dt><dd>
% if one.holds:
      <ul class="inline">
%   for held in one.holds:
        <li>\\
%     if held.href:
<a href="{{held.href}}"><bdi>{{held.title}}</bdi></a>\\
%     else:
<bdi>{{held.title}}</bdi>\\
%     end
</li>
%   end
      </ul>
% else:
      {{t("providers.holds_nothing")}}
% end
    </dd></div>
% if one.room:
    <div><dt>{{t("providers.room")}}</dt><dd>{{one.room}}</dd></div>
% end
    <div><dt>{{t("providers.works")}}</dt><dd>{{"; ".join(one.capabilities)}}</dd></div>
  </dl>
</section>
% end
